// ---------------------------------------------------------------- dialog: the details of a value or a run, each with its own address

const dialog = document.getElementById("dialog");
// The address contains what is open, so that it can be shared.
function address(hash) {
  try { history.replaceState(null, "", hash || location.pathname + location.search); } catch { /* not everywhere for files */ }
}
function openDialog(hash, title, ...body) {
  dialog.classList.toggle("wide", hash.startsWith("#zoom="));
  document.getElementById("dialog-title").textContent = title;
  dialog.querySelector(".dialog-body").replaceChildren(...body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  address(hash);
}
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { if (/^#(run|value|zoom)=/.test(location.hash)) address(""); });

function list(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", {}, ...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value instanceof Node ? value : String(value))]));
}
const link = (key) => make("button", { type: "button", class: "run", onclick: () => showRun(key) }, labelOf(key));

function checks(run) {
  if (!run.checks) return run.outcome === "missing" ? "" : make("p", {}, "No checks are recorded: the run is older than the checks.");
  const wrong = run.checks.filter((check) => !check.passed).length;
  const title = wrong ? `Checks: ${wrong} of ${run.checks.length} warn` : `Checks: all ${run.checks.length} passed`;
  return make("details", wrong ? { open: "" } : {}, make("summary", {}, title),
    list(run.checks.map((check) => [check.passed ? check.check : `${check.check}: warning`, check.says])));
}

function showRun(key) {
  const run = DATA.runs[key], hash = `#run=${key}`;
  if (!run) return openDialog(hash, key, make("p", {}, "This run is no longer planned at this scale."));
  const place = DATA.places[run.place] ?? {};
  const changed = Object.entries(run.changed ?? {}).map(([name, value]) => `${name}: ${told(value)}`).join("; ");
  const inputs = make("span", {}, ...Object.entries(run.inputs ?? {}).flatMap(([role, input]) => [`${role.split(":")[0]}: `, link(input), make("br")]));
  const versions = Object.entries(place.versions ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  const beside = (which) => make("button", { type: "button", class: "act", onclick: () => { dialog.close(); compareWith(which, key); } },
    which ? "Compare, as the second" : "Compare, as the first");
  openDialog(
    hash,
    run.label,
    list([
      ["Run", make("code", {}, key)],
      ["Outcome", run.reason ? `${run.outcome}: ${run.reason}` : run.outcome],
      ["Used by", (run.shown ?? []).join("; ")],
      ["Differs from the scale by", changed],
      ["Inputs", Object.keys(run.inputs ?? {}).length ? inputs : null],
      ["Started", run.started?.slice(0, 16).replace("T", " ")],
      ["Wall clock", run.wall === undefined ? null : `${short(run.wall)} s`],
      ["Processor time", run.cpu === undefined ? null : `${short(run.cpu)} s`],
      ["Memory", run.memory ? `${run.memory} MB at most` : null],
      ["Steps", run.steps],
      ["Throughput", run.rate ? `${short(run.rate)} pairs per second` : null],
      ["Machine", place.machine],
      ["Code", run.code],
      ["Revision of the method", run.revision],
      ["Versions", versions],
      ["Command", make("code", {}, run.command)],
      ["Record", make("code", {}, `results/${DATA.scale}/${key}/record.json`)],
    ]),
    make("p", { class: "tools" }, beside(0), beside(1)),
    checks(run),
    run.metrics
      ? make("details", { open: "" }, make("summary", {}, "Metrics"), list(Object.entries(run.metrics).map(([n, v]) => [metricName(n, key), short(v)])))
      : "",
    make("details", {}, make("summary", {}, "All settings"), make("pre", {}, JSON.stringify(specOf(run), null, 1))),
  );
}

function showValue(name) {
  const [table, row, column] = name.split("/"), button = document.querySelector(`[data-cell="${CSS.escape(name)}"]`);
  const cell = DATA.cells[table]?.[row]?.[column];
  if (!cell || !button) return;
  const article = button.closest("article"), heads = article.querySelectorAll("thead tr:last-child th");
  const title = [article.querySelector("h3").textContent, button.closest("tr").querySelector("th").textContent, heads[column].textContent];
  openDialog(`#value=${name}`, title.join(", "), list([
    ["95 % interval", cell.interval],
    [`Against ${cell.against?.row}`, cell.against?.text],
    ["Test images", cell.against?.images || null],
    ["Paper", cell.paper],
    ["Ours minus the paper's", cell.difference],
  ]), ...cell.behind.map((one) => list([
    ["Value", one.value === null ? one.outcome : short(one.value)],
    ["Chance", one.chance === null ? null : short(one.chance)],
    ["Metric", one.metric],
    ["Seed", one.seed],
    ["Run", link(one.run)],
    ["Outcome", one.outcome],
  ])));
}

document.addEventListener("click", (event) => {
  const run = event.target.closest?.("[data-run]"), value = event.target.closest?.("[data-cell]");
  if (run) showRun(run.dataset.run);
  if (value) showValue(value.dataset.cell);
});

function openAddressed() {
  const [kind, name] = decodeURIComponent(location.hash.slice(1)).split(/=(.*)/s);
  if (kind === "run") showRun(name);
  else if (kind === "value") showValue(name);
  else if (kind === "zoom") enlarge(name);
  else if (kind === "compare" && name) compareBoth(...name.split(","));
}
function unfold() {
  const fold = document.getElementById(location.hash.slice(1))?.closest("details:not([open])");
  if (!fold) return;
  fold.open = true;
  document.getElementById(location.hash.slice(1)).scrollIntoView();
}
unfold();
addEventListener("hashchange", unfold);
addEventListener("hashchange", openAddressed);

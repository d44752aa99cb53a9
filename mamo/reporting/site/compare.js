// ---------------------------------------------------------------- two runs: settings that differ, metrics, curves

const selects = ["compare-first", "compare-second"].map((id) => document.getElementById(id));
for (const [place, select] of selects.entries()) {
  if (place) select.append(make("option", { value: "" }, "(none)"));
  for (const [kind, label] of Object.entries(DATA.kinds)) {
    const runs = Object.values(DATA.runs).filter((run) => run.kind === kind);
    if (runs.length) select.append(make("optgroup", { label }, ...runs.map((run) => make("option", { value: run.key }, run.label))));
  }
  select.addEventListener("change", () => { compared(); address(`#compare=${selects.map((one) => one.value).join(",")}`); });
}
const trained = Object.keys(DATA.curves);
const start = [...trained.filter((key) => key.startsWith("pretrain/")), ...trained];
if (start[0]) selects[0].value = start[0];
if (start[1]) selects[1].value = start[1];

function compareBoth(first, second) {
  if (DATA.runs[first]) selects[0].value = first;
  selects[1].value = DATA.runs[second] ? second : "";
  compared();
  document.getElementById("compare").scrollIntoView();
}
function compareWith(which, key) {
  selects[which].value = key;
  compareBoth(...selects.map((select) => select.value));
  address(`#compare=${selects.map((select) => select.value).join(",")}`);
}

function pairTable(title, names, rows) {
  if (!rows.length) return "";
  return make("div", {}, make("h3", {}, title), make("div", { class: "frame" }, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
    make("table", { class: "pair" },
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, ""), ...names.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows.map(([name, ...values]) => make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", {}, value)))))))));
}

function compared() {
  const runs = selects.map((select) => DATA.runs[select.value]).filter(Boolean), names = runs.map((run) => run.label);
  const parts = [];
  if (runs.length === 2) {
    const [a, b] = runs.map((run) => flat(specOf(run)));
    // A part that one run has and the other has not is one line, not one for each of its settings.
    for (const [one, other] of [[a, b], [b, a]]) {
      for (const name of Object.keys(one).filter((name) => one[name] === null)) {
        const inner = Object.keys(other).filter((key) => key.startsWith(`${name}.`));
        if (!inner.length) continue;
        other[name] = Object.fromEntries(inner.map((key) => [key.slice(name.length + 1), other[key]]));
        for (const key of inner) delete other[key];
      }
    }
    const settings = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => JSON.stringify(a[name]) !== JSON.stringify(b[name]));
    if (!settings.length) parts.push(make("p", {}, "No setting differs."));
    parts.push(pairTable(`Settings that differ (${settings.length})`, names, settings.map((name) => [name, told(a[name]), told(b[name])])));
    const metrics = Object.keys(runs[0].metrics ?? {}).filter((name) => name in (runs[1].metrics ?? {}) && !name.startsWith("chance/"));
    parts.push(pairTable("Metrics that both have", [...names, "second − first"], metrics.map((name) => {
      const [x, y] = runs.map((run) => run.metrics[name]), gap = y - x;
      return [metricName(name, runs[0].key), short(x), short(y), `${gap > 0 ? "+" : ""}${short(gap)}`.replace("-", "−")];
    })));
    const facts = [["Outcome", "outcome"], ["Processor time in seconds", "cpu"], ["Wall clock in seconds", "wall"], ["Steps", "steps"], ["Code", "code"]];
    parts.push(pairTable("Cost and outcome", names, facts.map(([title, key]) => [title, ...runs.map((run) => short(run[key] ?? "–"))])));
  } else parts.push(make("p", {}, "Choose a second run to see which settings differ."));
  document.querySelector(".compared").replaceChildren(...parts.filter(Boolean));
  draw();
  hints();
}

function draw() {
  const chosen = selects.map((select) => DATA.curves[select.value]);
  document.querySelector(".curve-legend").replaceChildren(...selects.flatMap((select, i) => (chosen[i]
    ? [make("span", { class: `key ${i ? "second" : "first"}` }), make("b", {}, labelOf(select.value))] : [])));
  const parts = [...new Set(chosen.flatMap((curve) => (curve ? Object.keys(curve) : [])))].filter((name) => name !== "step");
  const panels = document.querySelector(".curves");
  if (!parts.length) return panels.replaceChildren(make("p", {}, "Neither run has a curve."));
  const all = parts.map((part) => panel(part, chosen));
  // The pointer in one panel shows the values of all panels at the same step.
  for (const { svg } of all) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
      for (const one of all) one.point(share);
    });
    svg.addEventListener("pointerleave", () => { for (const one of all) one.leave(); });
  }
  panels.replaceChildren(...all.map((one) => one.figure));
}

// A label of an axis, short whatever the size of the value.
function axis(value) {
  const size = Math.abs(value);
  return size > 0 && (size < 0.01 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

function panel(part, chosen) {
  const lines = chosen.map((curve) => (curve?.[part] ? DATA.steps[curve.step].map((step, i) => [step, curve[part][i]]).filter(([, y]) => y !== null) : []));
  const points = lines.flat();
  const [width, height, left, bottom] = [280, 150, 42, 20];
  const last = Math.max(1, ...points.map(([x]) => x));
  let low = Math.min(...points.map(([, y]) => y)), high = Math.max(...points.map(([, y]) => y));
  if (!points.length) [low, high] = [0, 1];
  if (high === low) high = low + 1e-6;
  const x = (step) => left + (step / last) * (width - left - 6), y = (value) => 8 + ((high - value) / (high - low)) * (height - bottom - 8);
  const read = make("span", { class: "read" });
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${metricName(part)}: ${lines.map((line) => (line.length ? `from ${short(line[0][1])} to ${short(line.at(-1)[1])}` : "none")).join("; ")}` });
  for (const value of [low, (low + high) / 2, high]) {
    svg.append(make("line", { class: "grid", x1: left, x2: width - 6, y1: y(value), y2: y(value) }),
      make("text", { x: left - 4, y: y(value) + 3, "text-anchor": "end" }, axis(value)));
  }
  svg.append(make("text", { x: left, y: height - 5 }, "0"), make("text", { x: width - 6, y: height - 5, "text-anchor": "end" }, `step ${last}`));
  const cursor = make("line", { class: "cursor", y1: 8, y2: height - bottom });
  svg.append(cursor);
  const sides = ["first", "second"], dots = sides.map((side) => make("circle", { class: side, r: 3 }));
  lines.forEach((line, i) => {
    if (line.length) svg.append(make("path", { class: sides[i], d: line.map(([s, v], j) => `${j ? "L" : "M"}${x(s).toFixed(1)} ${y(v).toFixed(1)}`).join("") }), dots[i]);
  });
  function point(share) {
    const step = ((share * width - left) / (width - left - 6)) * last;
    const near = lines.map((line) => line.reduce((best, one) => (best === null || Math.abs(one[0] - step) < Math.abs(best[0] - step) ? one : best), null));
    const at = near.find(Boolean);
    if (!at) return;
    svg.classList.add("pointed");
    cursor.setAttribute("x1", x(at[0]));
    cursor.setAttribute("x2", x(at[0]));
    near.forEach((one, i) => { if (one) { dots[i].setAttribute("cx", x(one[0])); dots[i].setAttribute("cy", y(one[1])); } });
    read.replaceChildren(`step ${at[0]}: `, ...near.map((one, i) => (one ? make("span", { class: sides[i] }, short(one[1])) : "")));
  }
  function leave() { svg.classList.remove("pointed"); read.replaceChildren(); }
  return { figure: make("figure", {}, make("figcaption", {}, make("strong", {}, metricName(part)), read), svg), svg, point, leave };
}
compared();

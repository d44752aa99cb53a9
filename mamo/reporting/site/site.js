"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

// Elements are made from text alone: nothing of what the data say is ever read as markup.
function make(tag, attributes = {}, ...children) {
  const space = ["svg", "path", "line", "text"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Light and dark: the system's choice until the button is pressed.
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// ---------------------------------------------------------------- heat

// Inferno at 17 places; lightness rises all the way.
const STOPS = ["000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754", "d24644", "e45a31", "f1731d",
  "f98e09", "fbaa0f", "f9c932", "f2ea69", "fcffa4"].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((from, i) => from + (STOPS[low + 1][i] - from) * (place - low));
}

// Bicubic resampling of a grid to a line of pixels: for every pixel four places and their weights.
function cubic(size, grid) {
  const a = -0.75;
  const weight = (x) => {
    const d = Math.abs(x);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
  };
  return Array.from({ length: size }, (_, pixel) => {
    const centre = ((pixel + 0.5) * grid) / size - 0.5;
    const first = Math.floor(centre) - 1;
    return [0, 1, 2, 3].map((i) => [Math.min(Math.max(first + i, 0), grid - 1), weight(centre - first - i)]);
  });
}

// A map scaled to its own maximum, as one value per pixel.
function scaled(map, grid, width, height) {
  const top = Math.max(...map);
  const fine = new Float32Array(width * height);
  if (!(top > 0)) return fine;
  const across = cubic(width, grid), down = cubic(height, grid);
  const rows = new Float32Array(grid * width);
  for (let r = 0; r < grid; r++) for (let x = 0; x < width; x++) {
    rows[r * width + x] = across[x].reduce((sum, [c, w]) => sum + (w * map[r * grid + c]) / top, 0);
  }
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    fine[y * width + x] = down[y].reduce((sum, [r, w]) => sum + w * rows[r * width + x], 0);
  }
  return fine;
}

// ---------------------------------------------------------------- explorer

function explorer(root, { examples, models, grid }) {
  const thumbs = root.querySelector(".thumbs"), sentence = root.querySelector(".sentence");
  const views = root.querySelector(".views"), said = root.querySelector(".said");
  const strength = root.querySelector("#strength"), boxes = root.querySelector("#boxes");
  const state = { example: 0, word: null, kept: null, image: null };
  const figures = models.map((model) => {
    const canvas = make("canvas", { role: "img" }), fit = make("span", { class: "fit" });
    const figure = make("figure", {}, canvas, make("figcaption", {}, make("strong", {}, model.label), fit));
    views.append(figure);
    return { model, canvas, fit };
  });

  examples.forEach((example, i) => {
    const button = make("button", { type: "button", "aria-label": `Image ${i + 1}: ${example.text}`, onclick: () => open(i) },
      make("img", { src: example.picture, alt: "" }));
    thumbs.append(button);
  });

  function open(i) {
    Object.assign(state, { example: i, word: null, kept: null, image: null });
    [...thumbs.children].forEach((button, j) => button.setAttribute("aria-pressed", j === i));
    const example = examples[i];
    sentence.replaceChildren(...example.words.map((word, place) => {
      if (!/[\p{L}\p{N}]/u.test(word)) return make("span", {}, word);
      const named = example.named.some((name) => name.words.includes(place));
      return make("button", {
        type: "button", class: named ? "named" : "", "data-word": place, tabindex: -1, "aria-pressed": "false",
        onpointerenter: (event) => { if (event.pointerType !== "touch") show(place); },
        onpointerleave: (event) => { if (event.pointerType !== "touch") show(state.kept); },
        onfocus: () => { rove(place); show(place); },
        onblur: () => show(state.kept),
        onclick: () => keep(place),
      }, word);
    }));
    const buttons = words();
    if (buttons.length) buttons[0].tabIndex = 0;
    const image = new Image();
    image.onload = () => { state.image = image; paint(); };
    image.src = example.picture;
    const first = example.named.find((name) => name.what === "object") ?? example.named[0];
    keep(first ? first.words[0] : Number(buttons[0]?.dataset.word ?? 0));
  }

  const words = () => [...sentence.querySelectorAll("button")];
  // One word at a time is in the order of tabs; arrows lead to the others.
  function rove(place) { for (const button of words()) button.tabIndex = Number(button.dataset.word) === place ? 0 : -1; }
  function keep(place) { state.kept = place; rove(place); show(place); }
  function show(place) {
    state.word = place;
    for (const button of words()) {
      const word = Number(button.dataset.word);
      button.classList.toggle("shown", word === place);
      button.classList.toggle("kept", word === state.kept);
      button.setAttribute("aria-pressed", word === state.kept);
    }
    paint();
    tell();
  }

  sentence.addEventListener("keydown", (event) => {
    const buttons = words(), at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    buttons[(to + buttons.length) % buttons.length].focus();
  });
  thumbs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = thumbs.children[(state.example + step + examples.length) % examples.length];
    to.click();
    to.focus();
  });
  strength.addEventListener("input", paint);
  boxes.addEventListener("change", paint);

  const namedAt = (place) => examples[state.example].named.findIndex((name) => name.words.includes(place));

  function paint() {
    const example = examples[state.example], image = state.image;
    if (!image || state.word === null) return;
    const side = Math.max(1, Math.round(448 / Math.min(example.width, example.height)));
    const width = example.width * side, height = example.height * side;
    for (const { model, canvas } of figures) {
      const own = example.models[model.key];
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingEnabled = true;
      context.drawImage(image, 0, 0, width, height);
      if (own) {
        const heat = scaled(own.maps[state.word], grid, width, height), share = strength.value / 100;
        const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
        const table = Array.from({ length: 256 }, (_, i) => colour(i / 255));
        for (let i = 0; i < heat.length; i++) {
          const [r, g, b] = table[Math.round(Math.min(Math.max(heat[i], 0), 1) * 255)];
          const grey = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
          // The stronger the heat is shown, the less colour the image keeps.
          data[4 * i] = (1 - share) * data[4 * i] + share * (0.45 * grey + 0.55 * r);
          data[4 * i + 1] = (1 - share) * data[4 * i + 1] + share * (0.45 * grey + 0.55 * g);
          data[4 * i + 2] = (1 - share) * data[4 * i + 2] + share * (0.45 * grey + 0.55 * b);
        }
        context.putImageData(pixels, 0, 0);
      }
      const named = namedAt(state.word);
      if (boxes.checked && named >= 0) {
        const [x0, y0, x1, y1] = example.named[named].box;
        for (const [colour, line] of [["#000", 6], ["#00c2f3", 3]]) {
          context.strokeStyle = colour;
          context.lineWidth = line;
          context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
        }
      }
    }
  }

  function tell() {
    const example = examples[state.example], named = namedAt(state.word), word = example.words[state.word];
    if (word === undefined) return;
    const parts = [];
    for (const { model, canvas, fit } of figures) {
      const own = example.models[model.key];
      let text;
      if (!own) text = `This run ended as ${model.outcome}.`;
      else if (!own.maps[state.word].some((value) => value > 0)) text = "No heat: this word does not raise the score.";
      else if (named >= 0) {
        const found = own.fits[named];
        text = `${Math.round(100 * found.share)} % of the heat in the box; hottest point ${found.hit ? "inside" : "outside"}`;
      } else text = `Pair held to match with ${Math.round(100 * own.matched)} %`;
      fit.textContent = text;
      canvas.setAttribute("aria-label", `${model.label}, heat of “${word}”: ${text}`);
      parts.push(`${model.label}: ${text}`);
    }
    said.textContent = `“${word}”. ${parts.join(". ")}.`;
  }

  const bar = root.querySelector(".scalebar canvas"), context = bar.getContext("2d");
  for (let x = 0; x < bar.width; x++) {
    context.fillStyle = `rgb(${colour(x / (bar.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, bar.height);
  }
  open(0);
}
if (DATA.explorer) explorer(document.getElementById("explorer"), DATA.explorer);

// ---------------------------------------------------------------- provenance

const dialog = document.getElementById("dialog");
function openDialog(title, ...body) {
  dialog.classList.toggle("wide", body.some((part) => part.tagName === "IMG"));
  document.getElementById("dialog-title").textContent = title;
  dialog.querySelector(".dialog-body").replaceChildren(...body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
function list(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", {}, ...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value instanceof Node ? value : String(value))]));
}
const link = (key) => make("button", { type: "button", class: "run", onclick: () => showRun(key) }, key);

function checks(run) {
  if (!run.checks) return run.outcome === "missing" ? "" : make("p", {}, "No checks are recorded: the run is older than they are.");
  if (!run.checks.length) return "";
  const wrong = run.checks.filter((check) => !check.passed).length;
  const title = wrong ? `Checks: ${wrong} of ${run.checks.length} warn` : `Checks: all ${run.checks.length} passed`;
  return make("details", wrong ? { open: "" } : {}, make("summary", {}, title),
    list(run.checks.map((check) => [check.passed ? check.check : `${check.check}: warning`, check.says])));
}

function showRun(key) {
  const run = DATA.runs[key];
  if (!run) return openDialog(key, make("p", {}, "This run is not planned at this scale any more."));
  const changed = Object.entries(run.changed).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ");
  const inputs = make("span", {}, ...Object.entries(run.inputs).flatMap(([role, input]) => [`${role}: `, link(input), make("br")]));
  const versions = Object.entries(run.versions ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  openDialog(
    key,
    list([
      ["Outcome", run.reason ? `${run.outcome}: ${run.reason}` : run.outcome],
      ["Differs from the scale by", changed],
      ["Inputs", Object.keys(run.inputs).length ? inputs : null],
      ["Started", run.started],
      ["Wall clock", run.wall === undefined || run.wall === null ? null : `${short(run.wall)} s`],
      ["Processor time", run.cpu === undefined || run.cpu === null ? null : `${short(run.cpu)} s`],
      ["Memory", run.memory ? `${run.memory} MB at most` : null],
      ["Steps", run.steps],
      ["Throughput", run.rate ? `${short(run.rate)} pairs per second` : null],
      ["Machine", run.machine],
      ["Code", run.code],
      ["Revision of the method", run.revision],
      ["Versions", versions],
      ["Make it", make("code", {}, run.command)],
      ["Record", make("code", {}, `results/${DATA.scale}/${key}/record.json`)],
    ]),
    checks(run),
    run.metrics && Object.keys(run.metrics).length
      ? make("details", { open: "" }, make("summary", {}, "Metrics"), list(Object.entries(run.metrics).map(([n, v]) => [n, short(v)])))
      : "",
    make("details", {}, make("summary", {}, "Resolved spec"), make("pre", {}, JSON.stringify(run.spec, null, 1))),
  );
}

document.addEventListener("click", (event) => {
  const run = event.target.closest?.("[data-run]"), value = event.target.closest?.("[data-behind]"), zoom = event.target.closest?.(".zoom");
  if (run) showRun(run.dataset.run);
  if (value) {
    const { behind, against, interval, paper, difference } = JSON.parse(value.dataset.behind);
    openDialog(value.dataset.title, list([
      ["95 % interval", interval],
      [`Against ${against?.row}`, against?.text],
      ["Test images", against?.images || null],
      ["Paper", paper],
      ["Ours less the paper's", difference],
    ]), ...behind.map((cell) => list([
      ["Value", cell.value === null ? cell.outcome : short(cell.value)],
      ["Chance", cell.chance === null ? null : short(cell.chance)],
      ["Metric", cell.metric],
      ["Seed", cell.seed],
      ["Run", link(cell.run)],
      ["Outcome", cell.outcome],
    ])));
  }
  if (zoom) {
    event.preventDefault();
    const image = zoom.querySelector("img");
    openDialog(image.alt.split(". ")[0], make("img", { src: image.src, alt: image.alt }));
  }
});
document.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && event.target.classList?.contains("zoom")) {
    event.preventDefault();
    event.target.click();
  }
});

for (const box of document.querySelectorAll("input[data-verdict]")) {
  box.addEventListener("change", () => {
    for (const claim of document.querySelectorAll(`.claims > li[data-verdict="${box.dataset.verdict}"]`)) claim.hidden = !box.checked;
  });
}

// ---------------------------------------------------------------- sorting

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => { const cell = row.children[column]; return cell.dataset.sort !== undefined ? Number(cell.dataset.sort) : cell.textContent.trim(); };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return (typeof x === "number" ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}

// ---------------------------------------------------------------- curves

const curves = document.querySelector(".curves");
if (curves) {
  const selects = ["curve-first", "curve-second"].map((id) => document.getElementById(id));
  const preferred = Object.keys(DATA.curves).filter((key) => key.startsWith("pretrain/"));
  if (preferred[0]) selects[0].value = preferred[0];
  if (preferred[1]) selects[1].value = preferred[1];
  const draw = () => {
    const chosen = selects.map((select) => DATA.curves[select.value]);
    const parts = [...new Set(chosen.flatMap((curve) => (curve ? Object.keys(curve) : [])))].filter((name) => name !== "step");
    curves.replaceChildren(...parts.map((part) => panel(part, chosen)));
  };
  selects.forEach((select) => select.addEventListener("change", draw));
  draw();
}

// A label of an axis, short whatever the size of the value.
function axis(value) {
  const size = Math.abs(value);
  return size > 0 && (size < 0.01 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

function panel(part, chosen) {
  const lines = chosen.map((curve) => (curve?.[part] ? curve.step.map((step, i) => [step, curve[part][i]]).filter(([, y]) => y !== null) : []));
  const points = lines.flat();
  const [width, height, left, bottom] = [280, 150, 42, 20];
  const last = Math.max(1, ...points.map(([x]) => x));
  let low = Math.min(...points.map(([, y]) => y)), high = Math.max(...points.map(([, y]) => y));
  if (!points.length) [low, high] = [0, 1];
  if (high === low) high = low + 1e-6;
  const x = (step) => left + (step / last) * (width - left - 6), y = (value) => 8 + ((high - value) / (high - low)) * (height - bottom - 8);
  const readout = make("span", {});
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${part}: ${lines.map((line) => (line.length ? `from ${short(line[0][1])} to ${short(line.at(-1)[1])}` : "none")).join("; ")}` });
  for (const value of [low, (low + high) / 2, high]) {
    svg.append(make("line", { class: "grid", x1: left, x2: width - 6, y1: y(value), y2: y(value) }),
      make("text", { x: left - 4, y: y(value) + 3, "text-anchor": "end" }, axis(value)));
  }
  svg.append(make("text", { x: left, y: height - 5 }, "0"), make("text", { x: width - 6, y: height - 5, "text-anchor": "end" }, `step ${last}`));
  lines.forEach((line, i) => {
    if (line.length) svg.append(make("path", { class: i ? "second" : "first", d: line.map(([s, v], j) => `${j ? "L" : "M"}${x(s).toFixed(1)} ${y(v).toFixed(1)}`).join("") }));
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), step = (((event.clientX - box.left) / box.width) * width - left) / (width - left - 6) * last;
    readout.textContent = lines.map((line) => line.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs((best ?? point)[0] - step) ? point : best ?? point), null))
      .filter(Boolean).map(([s, v]) => `${short(v)} at ${s}`).join(" · ");
  });
  svg.addEventListener("pointerleave", () => { readout.textContent = ""; });
  return make("figure", {}, make("figcaption", {}, make("strong", {}, part), readout), svg);
}

"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

// Elements are made from text only, so nothing in the data can act as markup.
function make(tag, attributes = {}, ...children) {
  const space = ["svg", "path", "line", "text", "circle"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Light and dark: the system's choice until the button is pressed, then the reader's, kept if the browser stores anything for files.
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("mamo-theme", root.dataset.theme); } catch { /* not kept */ }
});

// Of a group of buttons one is in the tab order; arrow keys reach the others, up and down by rows.
function rove(container, selector) {
  const all = () => [...container.querySelectorAll(selector)].filter((one) => one.offsetParent);
  const set = (chosen) => { for (const one of container.querySelectorAll(selector)) one.tabIndex = one === chosen ? 0 : -1; };
  set(container.querySelector(selector));
  container.addEventListener("focusin", (event) => { if (event.target.matches(selector)) set(event.target); });
  container.addEventListener("keydown", (event) => {
    const buttons = all(), at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    const row = (button) => button.closest("tr"), cell = (button) => button.closest("td, th").cellIndex;
    const step = (sign) => buttons.filter((b) => cell(b) === cell(buttons[at])).reduce((best, b) => {
      const gap = (row(b).rowIndex - row(buttons[at]).rowIndex) * sign;
      return gap > 0 && (!best || gap < best.gap) ? { gap, b } : best;
    }, null)?.b;
    const to = { ArrowRight: () => buttons[at + 1], ArrowLeft: () => buttons[at - 1], ArrowDown: () => step(1), ArrowUp: () => step(-1),
      Home: () => buttons[0], End: () => buttons.at(-1) }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    to.focus();
  });
}

const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
// Settings for people: "off" for a part that is not used, words without quotation marks.
function told(value) {
  if (value === undefined) return "–";
  if (value === null) return "off";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(told).join(", ") || "–";
  if (typeof value === "object") {
    const inner = (part) => (part !== null && typeof part === "object" && !Array.isArray(part) ? `(${told(part)})` : told(part));
    return Object.entries(value).map(([name, part]) => `${name} ${inner(part)}`).join(", ") || "–";
  }
  return String(value);
}
// A metric by the name of its column, a part of the loss by its abbreviation.
const METRICS = { loss: "Loss" };
for (const part of ["itc", "itm", "mlm", "mim", "mrm"]) METRICS[part] = part.toUpperCase();
function metricName(name, key = "") {
  const job = key.split("/")[1]?.split("-")[0];
  const text = DATA.metrics[job]?.[name] ?? METRICS[name] ?? name.replace(/^chance\//, "chance of ").replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}
const labelOf = (key) => DATA.runs[key]?.label ?? key;

// A run's resolved spec: the shared base plus its differences.
function specOf(run) {
  const [number, changed] = run.spec, spec = structuredClone(DATA.specs[number]);
  for (const [dotted, value] of Object.entries(changed)) {
    const parts = dotted.split("."), last = parts.pop();
    const owner = parts.reduce((section, part) => (section[part] ??= {}), spec);
    owner[last] = value;
  }
  return spec;
}
function flat(value, prefix = "", found = {}) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) flat(inner, prefix ? `${prefix}.${name}` : name, found);
  } else found[prefix] = value;
  return found;
}

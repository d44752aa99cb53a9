// ---------------------------------------------------------------- tables: columns, hints, sorting, searching

for (const box of document.querySelectorAll("[data-all]")) {
  box.addEventListener("change", () => { box.closest("article").classList.toggle("wide", box.checked); hints(); });
}
for (const table of document.querySelectorAll("article.table table")) rove(table, ".value");

// Mark the edge of a table that continues to the right.
function hints() {
  for (const scroll of document.querySelectorAll(".frame > .scroll")) {
    scroll.parentElement.classList.toggle("goes-on", scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft > 4);
  }
}
for (const scroll of document.querySelectorAll(".frame > .scroll")) scroll.addEventListener("scroll", hints, { passive: true });
addEventListener("resize", hints);
hints();

for (const table of document.querySelectorAll("table.sortable")) {
  rove(table, ".run");
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

// Every search word must occur in a run's line, its rows, its settings or its key.
const find = document.getElementById("find"), kind = document.getElementById("find-kind"), outcome = document.getElementById("find-outcome");
const lines = [...document.querySelectorAll("#runs tbody tr")].map((row) => {
  const key = row.querySelector(".run").dataset.run, run = DATA.runs[key];
  return { row, run, text: `${row.textContent} ${key} ${(run.shown ?? []).join(" ")}`.toLowerCase() };
});
function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { row, run, text } of lines) {
    row.hidden = !(words.every((word) => text.includes(word)) && (!kind.value || run.kind === kind.value) && (!outcome.value || run.outcome === outcome.value));
    count += !row.hidden;
  }
  document.getElementById("find-count").textContent = `${count} of ${lines.length}`;
}
for (const [field, event] of [[find, "input"], [kind, "change"], [outcome, "change"]]) field.addEventListener(event, filter);
filter();

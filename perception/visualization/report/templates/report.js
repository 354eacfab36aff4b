"use strict";

// Tables: a click or the keyboard on a column's button sorts; text first ascends,
// numbers descend, cells without a value stay at the end.
function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (text === "") return null;
  const number = Number(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function sortBy(header, button) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const column = header.cellIndex;
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  const numeric = rows.some(([value]) => typeof value === "number");
  const now = header.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = now === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b));
  });
  for (const one of table.tHead.querySelectorAll("th")) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  body.append(...rows.map(([, row]) => row));
  const said = document.getElementById("said");
  said.textContent = `Sorted by ${button.textContent.trim()}, ${order}.`;
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th"), button));
}

// Pictures: the slider, or a pointer on the picture, moves the edge between clean (left)
// and attacked (right).
for (const figure of document.querySelectorAll("figure.pair")) {
  const slider = figure.querySelector("input[type=range]");
  const stage = figure.querySelector(".stage");
  const move = () => {
    stage.style.setProperty("--split", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % clean`);
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    const part = (event.clientX - box.left) / box.width;
    slider.value = Math.round(100 * Math.min(1, Math.max(0, part)));
    move();
  };
  slider.addEventListener("input", move);
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  move();
}

// One attack's pictures at a time, if there are several attacks.
const filter = document.getElementById("filter");
if (filter) {
  filter.addEventListener("change", () => {
    let count = 0;
    for (const figure of document.querySelectorAll("figure.pair")) {
      figure.hidden = filter.value !== "" && figure.dataset.attack !== filter.value;
      count += !figure.hidden;
    }
    const noun = count === 1 ? "frame" : "frames";
    document.getElementById("shown").textContent = `${count} ${noun}`;
  });
}

// On paper everything is open, and as it was afterwards.
const closed = new Set();
window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) {
    closed.add(one);
    one.open = true;
  }
});
window.addEventListener("afterprint", () => {
  for (const one of closed) one.open = false;
  closed.clear();
});

// A link to a threat model opens it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();

"use strict";

// Tables: a click or the keyboard on a column's button sorts; text first ascends,
// numbers descend, cells without a value stay at the end.
function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (text === "") return null;
  return Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
}

function sortBy(button) {
  const header = button.closest("th");
  const table = header.closest("table");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, header.cellIndex), row]);
  const numeric = rows.some(([value]) => typeof value === "number");
  const orders = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const order = orders[Number(header.getAttribute("aria-sort") === orders[0])];
  const sign = order === "ascending" ? 1 : -1;
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b));
  });
  for (const one of table.tHead.querySelectorAll("th")) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  body.append(...rows.map(([, row]) => row));
  const said = `Sorted by ${button.textContent.trim()}, ${order}.`;
  document.getElementById("said").textContent = said;
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sortBy(button));
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
    if (!stage.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    slider.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    move();
  };
  slider.addEventListener("input", move);
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", follow);
  move();
}

// One attack's pictures at a time, if there are several attacks.
const filter = document.getElementById("filter");
filter?.addEventListener("change", () => {
  let count = 0;
  for (const figure of document.querySelectorAll("figure.pair")) {
    figure.hidden = filter.value !== "" && figure.dataset.attack !== filter.value;
    count += !figure.hidden;
  }
  document.getElementById("shown").textContent = `${count} frame${count === 1 ? "" : "s"}`;
});

// On paper everything is open, and as it was afterwards.
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of closed) one.open = false;
});

// A link to a threat model opens it.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();

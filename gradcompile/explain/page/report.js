"use strict";
// Formula, table, graph and source show the same row: what carries data-row is marked, and a click on it chooses it.

const marks = [...document.querySelectorAll("[data-row]")];

document.addEventListener("row", (event) => {
  for (const mark of marks) mark.classList.toggle("marked", Number(mark.dataset.row) === event.detail);
  const lines = [...document.querySelectorAll(`.source a[data-row="${event.detail}"]`)].map((a) => a.parentElement.closest("[id]"));
  if (!lines.length) return;
  const list = element("p", "computed in the source at line ", told);
  for (const line of lines) {
    const link = element("a", line.id.slice(1), list);
    link.href = `#${line.id}`;
    list.append(" ");
  }
});

for (const mark of marks) {
  mark.addEventListener("click", (event) => {
    event.stopPropagation();
    if (mark.tagName === "A") event.preventDefault();
    choose(Number(mark.dataset.row));
    if (mark.tagName === "A") document.getElementById("drawing").scrollIntoView({ block: "nearest" });
  });
  mark.addEventListener("mouseover", (event) => {
    event.stopPropagation();
    for (const other of marks) other.classList.toggle("hover", other === mark);
  });
}

"use strict";
// Sorting: a press on a heading sorts by it, a second press turns the order round. What was not measured stays last.
for (const table of document.querySelectorAll("table.board")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const current = heading.getAttribute("aria-sort");
      const opposite = { ascending: "descending", descending: "ascending" };
      const order = opposite[current] || heading.dataset.first;
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => ({ row, value: row.cells[column].dataset.value }));
      rows.sort((a, b) => {
        if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
        const difference = Number(a.value) - Number(b.value);
        return sign * (Number.isNaN(difference) ? a.value.localeCompare(b.value) : difference);
      });
      body.append(...rows.map(({ row }) => row));
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
    });
  });
}
// Paper cannot be unfolded.
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

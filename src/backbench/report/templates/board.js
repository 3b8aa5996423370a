"use strict";
// The table: sort by a heading, filter, search, choose columns. Without this script all of it is there, in order of rank.
document.documentElement.classList.add("live");

// A press on a heading sorts by it, a second press turns the order round. What was not measured stays last.
function sortable(table) {
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

// Rows are kept when every filter that is set fits; what is searched may be any part of the name.
function filterable(table, form) {
  const rows = [...table.tBodies[0].rows];
  const filters = [...form.querySelectorAll("select")];
  const search = form.elements.name;
  const clear = form.querySelector("[type=reset]");

  function apply() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = filters.every(({ name, value }) =>
        !value || (name === "badge" ? row.dataset.badge.split(" ").includes(value) : row.dataset[name] === value));
      row.hidden = !(fits && row.cells[1].dataset.value.toLowerCase().includes(wanted));
      shown += !row.hidden;
    }
    clear.hidden = !wanted && filters.every(({ value }) => !value);
    form.querySelector("output").textContent = shown === rows.length
      ? `${rows.length} candidates`
      : `${shown} of ${rows.length} candidates${shown ? "" : ": nothing fits"}`;
  }

  function columns() {
    for (const box of form.querySelectorAll("[name=column]")) {
      table.classList.toggle(`without-${box.value}`, !box.checked);
    }
  }

  const choice = form.querySelector(".choice");
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["input", "change"]) {
    form.addEventListener(kind, (event) => (event.target.name === "column" ? columns() : apply()));
  }
  // The fields are emptied after this event, and the columns are no part of what is cleared.
  clear.addEventListener("click", (event) => {
    event.preventDefault();
    for (const field of [search, ...filters]) field.value = "";
    apply();
    search.focus();
  });
  document.addEventListener("click", (event) => {
    if (!choice.contains(event.target)) choice.open = false;
  });
  choice.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    choice.open = false;
    choice.querySelector("summary").focus();
  });
  // A browser that comes back to the page may have filled the fields in.
  columns();
  apply();
}

for (const table of document.querySelectorAll("table.board")) {
  const form = document.querySelector("form.tools");
  sortable(table);
  if (form) filterable(table, form);
}

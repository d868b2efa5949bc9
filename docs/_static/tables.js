// Sort a table of the class "sortable" by a click on a heading: first descending, then ascending.
document.addEventListener("DOMContentLoaded", () => {
  for (const head of document.querySelectorAll("table.sortable th")) {
    head.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0];
      const up = head.getAttribute("aria-sort") === "descending";
      const value = (row) => row.cells[head.cellIndex].dataset.value;
      const order = (a, b) => (isNaN(value(a)) ? value(b).localeCompare(value(a)) : value(b) - value(a));
      const rows = [...body.rows].sort(order);
      body.append(...(up ? rows.reverse() : rows));
      head.parentElement.querySelectorAll("th").forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  }
});

// Makes tables sortable by the buttons that it puts into their heads. Without it, the page is complete.
"use strict";
const collator = new Intl.Collator("en", { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const isNumber = head.classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      return isNumber ? Number(cell.dataset.value ?? -1) : cell.textContent;
    };
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : isNumber;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const sorted = [...body.rows].map((row) => [key(row), row]);
      sorted.sort(([a], [b]) => (isNumber ? a - b : collator.compare(a, b)) * (down ? -1 : 1));
      body.append(...sorted.map(([, row]) => row));
    });
  });
}

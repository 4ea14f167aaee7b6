"use strict";
// Sorting and filtering of the tables. Without it the page is complete, in the order of the sort.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const listed = () => [...body.rows]; // other scripts add rows, and take some away
  const form = document.querySelector(`form[data-for="${table.id}"]`);
  const output = form.querySelector("output");
  const headings = [...table.tHead.querySelectorAll("[data-column]")];
  const cell = (row, column) => row.querySelector(`[data-column="${column}"]`).dataset.value;
  let order = { column: headings[0].dataset.column, ascending: true };

  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));
  const compare = (a, b) => {
    if ((a === "") !== (b === "")) return a === "" ? 1 : -1; // what has no value comes last, either way
    const difference = isNumber(a) && isNumber(b)
      ? Number(a) - Number(b)
      : a.localeCompare(b, "en", { numeric: true });
    return order.ascending ? difference : -difference;
  };

  function sort(column, ascending) {
    order = { column, ascending };
    const sorted = listed().map((row) => [cell(row, column), row]).sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]);
    let at = body.firstElementChild; // rows that stand where they belong stay there: to move a thousand takes a second
    for (const row of sorted) {
      if (row === at) at = at.nextElementSibling;
      else body.insertBefore(row, at);
    }
    for (const heading of headings) {
      if (heading.dataset.column === column) heading.ariaSort = ascending ? "ascending" : "descending";
      else heading.removeAttribute("aria-sort");
    }
    form.elements.order.value = column;
  }

  function filter() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const choices = [...form.querySelectorAll("select")]
      .filter((select) => select.name !== "order" && select.value)
      .map((select) => [select.name, select.value]);
    let shown = 0;
    const rows = listed();
    for (const row of rows) {
      const text = words.length ? row.textContent.toLowerCase() : "";
      row.hidden = !(words.every((word) => text.includes(word))
        && choices.every(([name, value]) => row.dataset[name] === value));
      shown += !row.hidden;
    }
    output.textContent = `${shown} of ${rows.length} shown`;
  }

  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      const { column } = heading.dataset;
      // The largest first where the first click asks for numbers, except for what counts up.
      const first = !heading.classList.contains("number") || heading === headings[0];
      sort(column, column === order.column ? !order.ascending : first);
    });
  }
  form.elements.order.addEventListener("change", () => sort(form.elements.order.value, order.ascending));
  form.elements.reverse.addEventListener("click", () => sort(order.column, !order.ascending));
  form.elements.words.addEventListener("input", filter);
  for (const select of form.querySelectorAll("select:not([name=order])")) select.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); sort(headings[0].dataset.column, true); }));

  // A link from the map leads to its row even where a filter hides it.
  function reveal() {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row && row.parentElement === body && row.hidden) {
      form.reset();
      setTimeout(() => row.scrollIntoView());
    }
  }
  addEventListener("hashchange", reveal);
  let known = body.rows.length;
  let waiting = false;
  document.addEventListener("spikelab:changed", () => {
    if (waiting) return; // many rows change at once
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      if (body.rows.length !== known) sort(order.column, order.ascending);
      known = body.rows.length;
      filter();
    });
  });
  form.hidden = false;
  filter();
  sort(order.column, true);
  reveal();
}

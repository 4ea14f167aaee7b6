"use strict";
// Plates in colour, and groups of recordings. All texts come from the table of recordings, and are set as text.
{
  const rows = [...document.querySelectorAll("#recording-table tbody tr")];
  // The table is sorted by its own script: the order of the file is that of the names in the plates and groups.
  const recordings = rows.map((row) => ({
    name: row.querySelector("[data-column=name]").dataset.value,
    link: row.querySelector("[data-column=name] a")?.getAttribute("href"),
    values: JSON.parse(row.dataset.values),
    words: row.dataset,
    index: Number(row.dataset.index),
  })).sort((a, b) => a.index - b.index);

  const shown = (value) => value === undefined ? "" : Number.isInteger(value) ? String(value)
    : Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));

  // ---- plates: from light to dark, so that the order is seen without colour ----
  const LIGHT_TO_DARK = [[255, 247, 214], [120, 198, 180], [36, 121, 160], [18, 40, 100]];
  const APART = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#f0e442", "#a6761d", "#999999"];

  function shade(share) {
    const place = share * (LIGHT_TO_DARK.length - 1);
    const first = Math.min(Math.floor(place), LIGHT_TO_DARK.length - 2);
    return LIGHT_TO_DARK[first].map((low, i) => Math.round(low + (place - first) * (LIGHT_TO_DARK[first + 1][i] - low)));
  }
  // Dark words where they stand out more than white ones do.
  const luminance = (color) => color.reduce((sum, part, i) => sum + [0.2126, 0.7152, 0.0722][i] * (part / 255) ** 2.2, 0);
  const onColor = (color) => (luminance(color) > 0.18 ? "#1a1a1a" : "#fff");
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  function chip(color, label) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = color;
    return [swatch, label];
  }

  function paint(form, cells, scale) {
    const choice = form.elements.measure;
    const key = choice.value;
    const words = "words" in choice.selectedOptions[0].dataset;
    const valueOf = (cell) => (words ? recordings[cell.dataset.row].words[key] : recordings[cell.dataset.row].values[key]);
    const values = cells.map(valueOf).filter((value) => value !== undefined && value !== "");
    const kinds = [...new Set(values)].sort((a, b) => String(a).localeCompare(String(b), "en", { numeric: true }));
    const low = Math.min(...values), high = Math.max(...values);
    const title = document.createElement("span");
    title.textContent = `${choice.selectedOptions[0].textContent}:`;
    scale.replaceChildren(title);
    if (words) {
      if (kinds.length <= APART.length) kinds.forEach((kind, i) => scale.append(...chip(APART[i], kind)));
    } else if (values.length) {
      const bar = document.createElement("span");
      bar.className = "ramp";
      bar.style.background = `linear-gradient(to right, ${LIGHT_TO_DARK.map((c) => `rgb(${c})`)})`;
      scale.append(shown(low), bar, shown(high));
    }
    for (const cell of cells) {
      const value = valueOf(cell);
      const known = value !== undefined && value !== "";
      let color = null;
      if (known && words && kinds.length <= APART.length) color = parts(APART[kinds.indexOf(value)]);
      if (known && !words) color = shade(high > low ? (value - low) / (high - low) : 0.5);
      cell.style.background = color ? `rgb(${color})` : "";
      cell.style.color = color ? onColor(color) : "";
      const text = known ? (words ? value : shown(value)) : "kept" in recordings[cell.dataset.row].values ? "\u2013" : "\u00d7";
      (cell.querySelector("a") ?? cell).textContent = text;
    }
  }

  const plates = document.getElementById("plates");
  if (plates) {
    const form = plates.querySelector("form");
    const cells = [...plates.querySelectorAll("[data-row]")];
    const again = () => paint(form, cells, plates.querySelector(".scale"));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.elements.measure.addEventListener("change", again);
    form.hidden = false;
    again();
  }

  // ---- groups ----
  const SVG = "http://www.w3.org/2000/svg";
  function draw(parent, name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function quantile(sorted, share) {
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  }

  // Counts are ticked at whole numbers.
  function ticks(low, high, counts) {
    const power = 10 ** Math.floor(Math.log10((high - low) / 5));
    const nice = [1, 2, 5, 10].map((digit) => digit * power).find((size) => (high - low) / size <= 6);
    const step = counts ? Math.max(1, nice) : nice;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function gather(group, key) {
    const names = [...new Set(group.of)].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    return names.map((name) => {
      const members = recordings.filter((one) => group.of[one.index] === name);
      const dots = members.filter((one) => one.values[key] !== undefined);
      return { name, dots, without: members.length - dots.length, sorted: dots.map((one) => one.values[key]).sort((a, b) => a - b) };
    });
  }

  const clipped = (text) => (text.length > 22 ? `${text.slice(0, 21)}\u2026` : text);

  function strip(target, groups, key, label) {
    const all = groups.flatMap((group) => group.sorted);
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (!all.length) { target.replaceChildren("No recording has a value."); return; }
    if (low > 0 && low < 0.5 * high) low = 0;
    if (low === high) [low, high] = [low - 1, high + 1];
    const width = Math.max(300, Math.min(900, target.clientWidth)), left = 12 + 7 * Math.max(...groups.map((group) => clipped(group.name).length));
    const tall = 38, height = tall * groups.length + 46;
    const x = (value) => left + 8 + ((value - low) / (high - low)) * (width - left - 24);
    const svg = draw(document.createDocumentFragment(), "svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": `${label} of ${groups.length} groups of recordings; the table below has the numbers` });
    for (const tick of ticks(low, high, all.every(Number.isInteger))) {
      draw(svg, "path", { class: "zero", d: `M${x(tick)} 4V${height - 42}` });
      draw(svg, "text", { x: x(tick), y: height - 26, "text-anchor": "middle" }, shown(tick));
    }
    draw(svg, "text", { class: "label", x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, label);
    groups.forEach((group, i) => {
      const middle = tall * (i + 0.5) + 4;
      draw(svg, "text", { class: "label", x: left - 4, y: middle + 4, "text-anchor": "end" }, clipped(group.name));
      if (group.sorted.length >= 4) {
        const [from, to] = [0.25, 0.75].map((share) => x(quantile(group.sorted, share)));
        draw(svg, "rect", { class: "half", x: from, y: middle - 13, width: Math.max(to - from, 1), height: 26 });
      }
      group.dots.forEach((one, k) => {
        const link = draw(svg, "a", one.link ? { href: one.link } : {});
        const dot = draw(link, "circle", { class: "dot", cx: x(one.values[key]), cy: middle + 18 * (((k + 1) * 0.618034) % 1 - 0.5), r: 4 });
        draw(dot, "title", {}, `${one.name}: ${shown(one.values[key])}`);
      });
      if (group.sorted.length) draw(svg, "path", { class: "median", d: `M${x(quantile(group.sorted, 0.5))} ${middle - 15}v30` });
    });
    target.replaceChildren(svg);
  }

  function tabulate(body, groups) {
    const complete = groups.every(({ without }) => !without);
    body.closest("table").classList.toggle("complete", complete); // hides the last column, which would be empty
    body.replaceChildren(...groups.map(({ name, sorted, without }) => {
      const row = document.createElement("tr");
      const of = (share) => shown(quantile(sorted, share));
      const spread = sorted.length ? [of(0.5), sorted.length >= 4 ? `${of(0.25)} \u2013 ${of(0.75)}` : "", `${of(0)} \u2013 ${of(1)}`] : ["", "", ""];
      for (const text of [name, sorted.length, ...spread, without || ""]) {
        const cell = row.insertCell();
        cell.textContent = text;
        if (row.cells.length > 1) cell.className = "number";
      }
      return row;
    }));
  }

  const section = document.getElementById("groups");
  if (section) {
    const by = JSON.parse(section.dataset.groups);
    const form = section.querySelector("form");
    const target = section.querySelector(".strip");
    const again = () => {
      const { value: key, selectedOptions: [option] } = form.elements.measure;
      const groups = gather(by[form.elements.by.value], key);
      strip(target, groups, key, option.textContent);
      section.querySelector(".spread th").textContent = by[form.elements.by.value].name;
      tabulate(section.querySelector(".spread tbody"), groups);
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", again);
    addEventListener("resize", again);
    section.hidden = false;
    again();
  }
}

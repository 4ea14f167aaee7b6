"use strict";
// The evidence on each unit, in a panel beside the table. Other scripts of the page extend what is here through
//
//   window.spikelab = {
//     about,             // once `ready` has resolved: {fs, seconds, n_samples, locations: [[x, y]...], channel_ids,
//                        //   epochs: [{start_s, name}], dead_s: [[from, to]...], metrics: [{name, label, values, low, high}],
//                        //   unit_ids: [id...], pairs: [{ids, verdict, similarity}], traces: {...} | null}
//     units,             // Map: unit id (a number) -> {id, data, row}: `data` is null until it is unpacked, `row` is
//                        //   the row of the table, null for a unit that the page was not made with
//     ready,             // Promise of window.spikelab: what is embedded has been unpacked
//     shown,             // id of the unit in the panel; null while it is closed
//     panel,             // the <aside> element; null on a page without units
//     show(id, {focus}), // open the panel on a unit (Promise, resolved when it is drawn); focus: move the focus into it
//     hide(),            // close it; the focus goes back to the unit's row
//     step(by),          // show the unit `by` rows further in the order and filter of the table; stops at both ends
//     order(),           // ids of the rows that are shown, from top to bottom
//     evidence(id),      // Promise of the evidence of a unit: `data` of `units`, else what `source(id)` gives
//     source,            // function id -> Promise of evidence as in `data`; null on a page without a server. A server's
//                        //   script sets it, for units that did not exist when the page was made
//     put(data, row, embedded = true), // add or replace a unit: its evidence (or null) and its row of the table; false
//                        //   where what is embedded of this id is of another unit, one that was merged or split before
//     drop(id),          // take a unit away, its row too
//     redraw(),          // draw the panel again, after something that it shows has changed
//     sections,          // Array of {name, title, wide, draw(unit, data, element)}, drawn in this order; scripts push
//                        //   or splice their own. `draw` returns false where there is nothing to show; with
//                        //   `withoutEvidence: true` it is called, with null, where no evidence is to be had too
//     keys,              // Map: key ("j", "ArrowDown", "Shift+m", "Ctrl+z") -> {words, run(event)}: pressed anywhere but
//                        //   in a field that takes text. `words` are listed under "?"; null leaves a key out of the list
//     draw,              // {svg(width, height, label), line, bars, axes, scatter, element(name, attributes, ...children)}:
//                        //   how pictures are made: elements and text nodes, never markup
//     colour(id),        // a colour for a unit, the same all over the page
//   }
//
// Events on `document`, with detail {id}: "spikelab:shown" after the panel was drawn, "spikelab:hidden" after it was
// closed; "spikelab:changed" (no detail) is fired by put and drop, and by scripts that change what rows say.
// Attributes of units by name of other scripts are in `data.attributes` (label, decided, merged_from, split_from, ...).
//
// Rows of the table have id="unit-12" and data-unit="12"; `#unit-12` in the address opens the panel.

(() => {
  const embedded = document.getElementById("evidence-data");
  const table = document.getElementById("unit-table");
  const panel = document.getElementById("evidence");
  const NS = "http://www.w3.org/2000/svg";
  const COLOURS = ["#0b5fa5", "#c1440e", "#1b7038", "#7a3fa0", "#96650a", "#0f7c85", "#b4245f", "#4d5b1f", "#5a5ad6", "#8a4b2d"];

  // ---- elements ----

  // An element with attributes and children; texts become text nodes, so that no name is ever read as markup.
  function element(name, attributes = {}, ...children) {
    const made = /^(svg|g|path|circle|rect|text|line|title)$/.test(name)
      ? document.createElementNS(NS, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const svg = (width, height, label) => element("svg",
    { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": label });
  const label = (x, y, words, anchor = "middle", kind = "tick") =>
    element("text", { class: kind, x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor }, words);

  // ---- numbers ----

  function number(value) {
    if (value === null || value === undefined) return "n/a";
    if (value === "inf" || value === "-inf") return value === "inf" ? "\u221e" : "\u2212\u221e";
    if (Number.isInteger(value)) return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f").replace("-", "\u2212");
    const text = Math.abs(value) >= 1000 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
    return text.replace("-", "\u2212");
  }
  const plural = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // Values of a packed array.
  function unpack(packed) {
    const bytes = bytesOf(packed.d);
    if (packed.t === "steps") {
      const values = [];
      let value = 0, step = 0, power = 1;
      for (const byte of bytes) {
        step += (byte & 127) * power;
        power *= 128;
        if (byte < 128) { value += step; values.push(value); step = 0; power = 1; }
      }
      return Float64Array.from(values);
    }
    const whole = packed.t === "u1" ? bytes : packed.t === "i1" ? new Int8Array(bytes.buffer) : new Int16Array(bytes.buffer);
    return Float64Array.from(whole, (value) => packed.o + packed.k * value);
  }

  function ticks(low, high, count = 4, whole = false) {
    if (!(high > low)) return [low];
    const power = 10 ** Math.floor(Math.log10((high - low) / count));
    let step = [1, 2, 2.5, 5, 10].map((nice) => nice * power).find((nice) => nice >= (high - low) / count * 0.999);
    if (whole) step = Math.max(1, Math.round(step));
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  }
  const extent = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) if (Number.isFinite(value)) { if (value < low) low = value; if (value > high) high = value; }
    return low <= high ? [low, high] : [0, 1];
  };

  // ---- pictures ----

  // A plot area: x and y turn data into pixels of the drawing.
  function axes(drawing, { width, height, x, y, xLabel = "", yLabel = "", xTicks = null, yTicks = null, log = false,
                           left = 44, right = 8, top = 8, bottom = 32 }) {
    const at = log ? Math.log10 : (value) => value;
    const toX = (value) => left + (at(value) - at(x[0])) / (at(x[1]) - at(x[0]) || 1) * (width - left - right);
    const toY = (value) => height - bottom - (value - y[0]) / (y[1] - y[0] || 1) * (height - top - bottom);
    const base = height - bottom;
    drawing.append(element("path", { class: "axis", d: `M${left} ${top}V${base}H${width - right}` }));
    for (const tick of xTicks || ticks(...x, 5)) {
      drawing.append(element("path", { class: "axis", d: `M${toX(tick).toFixed(1)} ${base}v3` }),
        label(toX(tick), base + 14, number(tick)));
    }
    for (const tick of yTicks || ticks(...y, 4)) {
      drawing.append(element("path", { class: "axis", d: `M${left} ${toY(tick).toFixed(1)}h-3` }),
        label(left - 5, toY(tick) + 3.5, number(tick), "end"));
    }
    if (xLabel) drawing.append(label((left + width - right) / 2, height - 3, xLabel, "middle", "label"));
    if (yLabel) {
      const turned = label(0, 0, yLabel, "middle", "label");
      turned.setAttribute("transform", `translate(11 ${(top + base) / 2}) rotate(-90)`);
      drawing.append(turned);
    }
    return { x: toX, y: toY, left, right: width - right, top, base };
  }
  function line(frame, xs, ys, kind, attributes = {}) {
    let path = "", pen = "M";
    for (let i = 0; i < ys.length; i++) {
      if (ys[i] === null || !Number.isFinite(ys[i])) { pen = "M"; continue; }
      path += `${pen}${frame.x(xs[i]).toFixed(1)} ${frame.y(ys[i]).toFixed(1)}`;
      pen = "L";
    }
    return element("path", { class: kind, d: path, ...attributes });
  }
  function bars(frame, edges, counts, kind) {
    let path = `M${frame.x(edges[0]).toFixed(1)} ${frame.base}`;
    counts.forEach((count, i) => {
      path += `V${frame.y(count).toFixed(1)}H${frame.x(edges[i + 1]).toFixed(1)}`;
    });
    return element("path", { class: kind, d: `${path}V${frame.base}Z` });
  }
  // Dots on a canvas, at twice its size on the page so that they are sharp in print too.
  function scatter(width, height, words, draw) {
    const canvas = element("canvas", { width: 2 * width, height: 2 * height, role: "img", "aria-label": words });
    const pen = canvas.getContext("2d");
    pen.scale(2, 2);
    draw(pen);
    return canvas;
  }
  function figure(caption, ...content) {
    return element("figure", {}, ...content, caption ? element("figcaption", {}, caption) : null);
  }

  // ---- the registry ----

  const units = new Map();
  const lines = new Map(); // id -> text that has not been read yet
  let resolveReady;
  const spikelab = {
    about: null, units, panel, shown: null, source: null, sections: [], keys: new Map(),
    ready: new Promise((resolve) => { resolveReady = resolve; }),
    draw: { element, svg, label, axes, line, bars, scatter, figure, number, plural, unpack, ticks, extent },
    colour(id) {
      const place = spikelab.about ? spikelab.about.unit_ids.indexOf(id) : -1;
      return COLOURS[(place < 0 ? id : place) % COLOURS.length];
    },
    order: () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => Number(row.dataset.unit)),
    async evidence(id) {
      await spikelab.ready;
      const unit = units.get(id);
      if (!unit) throw new Error(`there is no unit ${id}`);
      if (!unit.data && unit.embedded && lines.has(id)) { unit.data = JSON.parse(lines.get(id)); lines.delete(id); }
      if (!unit.data && spikelab.source) unit.data = await spikelab.source(id);
      return unit.data;
    },
    put(data, row, own_line = true) {
      const id = data ? data.id : Number(row.dataset.unit);
      if (data && own_line) lines.delete(id);
      const own = row || (units.get(id) || {}).row || null;
      if (own && table && !own.isConnected) table.tBodies[0].append(own);
      units.set(id, { id, data, row: own, embedded: own_line });
      document.dispatchEvent(new CustomEvent("spikelab:changed"));
    },
    drop(id) { // what was embedded of the unit stays: it may come back
      const unit = units.get(id);
      if (unit && unit.row) unit.row.remove();
      units.delete(id);
      document.dispatchEvent(new CustomEvent("spikelab:changed"));
    },
    show, hide, step,
    redraw: () => (spikelab.shown === null ? Promise.resolve() : show(spikelab.shown)),
  };
  window.spikelab = spikelab;

  // ---- opening and closing ----

  let turn = 0; // of several quick steps the last one is drawn
  async function show(id, { focus = false } = {}) {
    const mine = ++turn;
    const unit = units.get(id);
    if (!panel || !unit) return;
    mark(id);
    spikelab.shown = id;
    document.body.classList.add("evidence-open");
    panel.hidden = false;
    fit();
    const data = await spikelab.evidence(id);
    if (mine !== turn) return;
    const body = panel.querySelector(".evidence-body");
    const scroll = body.dataset.unit === String(id) ? panel.scrollTop : 0;
    body.dataset.unit = id;
    const title = panel.querySelector("h3");
    title.textContent = `Unit ${id}`;
    const drawn = [];
    if (!data) drawn.push(element("p", { class: "part wide none" }, "This unit was made after the page: there is no evidence on it here."));
    for (const section of spikelab.sections.filter((each) => data || each.withoutEvidence)) {
      const part = element("section", { class: `part ${section.name}${section.wide ? " wide" : ""}` });
      if (section.title) part.append(element("h4", {}, section.title));
      if (section.draw(unit, data, part) !== false) drawn.push(part);
    }
    body.replaceChildren(...drawn);
    panel.scrollTop = scroll;
    if (location.hash !== `#unit-${id}`) history.replaceState(null, "", `#unit-${id}`);
    if (unit.row) reveal(unit.row);
    if (focus) title.focus();
    document.dispatchEvent(new CustomEvent("spikelab:shown", { detail: { id } }));
  }
  function mark(id) {
    const last = units.get(spikelab.shown);
    if (last && last.row) { last.row.classList.remove("opened"); last.row.removeAttribute("aria-current"); }
    const row = units.get(id) && units.get(id).row;
    if (row) { row.classList.add("opened"); row.setAttribute("aria-current", "true"); }
  }
  // The row comes into view as far as it has to, and the head of the panel: a panel below covers part of the window.
  function reveal(row) {
    const bar = document.querySelector(".decisions.active");
    const floor = bar ? Math.min(innerHeight, bar.getBoundingClientRect().top) : innerHeight;
    let below;
    for (let times = 0; times < 5; times += 1) { // the panel comes into the window with the rows, and then covers some
      fit();
      const box = row.getBoundingClientRect(), sheet = panel.getBoundingClientRect();
      below = sheet.left < box.left + 40;
      const low = below && sheet.top > 0 ? Math.min(floor, sheet.top) : floor;
      if (box.top < 0 || box.bottom > low) scrollBy(0, box.top < 0 ? box.top - 60 : Math.min(box.bottom - low + 20, box.top - 60));
    }
    const top = panel.getBoundingClientRect().top;
    if (!below && top < 0) scrollBy(0, top - 8);
    else if (!below && top > innerHeight / 2) scrollBy(0, Math.min(top - 60, row.getBoundingClientRect().top - 60));
  }
  // The panel ends where the window does, however far the page is scrolled.
  function fit() {
    if (spikelab.shown !== null) panel.style.setProperty("--above", `${Math.max(0, panel.parentElement.getBoundingClientRect().top)}px`);
  }
  function hide() {
    if (!panel || spikelab.shown === null) return;
    const id = spikelab.shown;
    const { row } = units.get(id) || {};
    mark(null);
    turn++;
    spikelab.shown = null;
    panel.hidden = true;
    document.body.classList.remove("evidence-open");
    history.replaceState(null, "", location.pathname + location.search);
    if (row) { const button = row.querySelector("button.open"); if (button) button.focus(); }
    document.dispatchEvent(new CustomEvent("spikelab:hidden", { detail: { id } }));
  }
  function step(by) {
    const ids = spikelab.order();
    if (!ids.length) return Promise.resolve();
    const at = ids.indexOf(spikelab.shown);
    const next = at < 0 ? (by > 0 ? 0 : ids.length - 1) : Math.min(Math.max(at + by, 0), ids.length - 1);
    return ids[next] === spikelab.shown ? Promise.resolve() : show(ids[next]);
  }

  // ---- keys ----

  // "Shift+m" is told apart from "m"; what needs Shift to be typed, such as "?", goes by its own name.
  function keyOf(event) {
    const held = [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : ""].filter(Boolean);
    // With Alt, some keyboards write another letter: then the place of the key counts.
    const letter = event.altKey && /^Key/.test(event.code) && !/^[a-z]$/i.test(event.key) ? event.code[3].toLowerCase() : event.key;
    const shifted = [...held, "Shift", letter.length === 1 ? letter.toLowerCase() : letter].join("+");
    const plain = [...held, letter].join("+");
    return (event.shiftKey && spikelab.keys.get(shifted)) || spikelab.keys.get(plain);
  }
  // A field takes what is typed; a button or link takes the keys that press it.
  function takes({ target, key }) {
    if (!target.closest) return false;
    return target.closest("textarea, select, dialog, [contenteditable], input:not([type=checkbox])")
      || ((key === " " || key === "Enter") && target.closest("button, a, summary, input"));
  }
  const open = () => spikelab.shown !== null;
  const set = (names, words, run, when = () => true) => names.forEach((name, index) =>
    spikelab.keys.set(name, { words: index ? null : words, shown: names.join(" "), run, when }));
  set(["j", "ArrowDown"], "next unit of the table", () => step(1), open);
  set(["k", "ArrowUp"], "unit before", () => step(-1), open);
  set(["Home"], "first unit", () => show(spikelab.order()[0]), open);
  set(["End"], "last unit", () => show(spikelab.order().at(-1)), open);
  set(["Escape"], "close the panel", () => hide(), open);
  set(["?"], "show or hide this list", () => {
    const keys = panel.querySelector("details.keys");
    keys.open = !keys.open;
    if (!keys.open) return;
    listKeys();
    keys.scrollIntoView(); // it stands at the end of the panel
  }, open);
  document.addEventListener("keydown", (event) => {
    const key = keyOf(event);
    if (!key || event.defaultPrevented || takes(event) || (key.when && !key.when())) return;
    event.preventDefault();
    key.run(event);
  });
  function listKeys() {
    const list = panel.querySelector("details.keys dl");
    list.replaceChildren(...[...spikelab.keys].filter(([, key]) => key.words).flatMap(([name, key]) =>
      [element("dt", {}, ...(key.shown || name).split(" ").flatMap((each) => [element("kbd", {}, each), " "])), element("dd", {}, key.words)]));
  }

  // ---- what is embedded ----

  async function read() {
    const bytes = bytesOf(embedded.textContent);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const parts = (await new Response(stream).text()).split("\n");
    embedded.textContent = "";
    spikelab.about = JSON.parse(parts[0]);
    spikelab.about.unit_ids.forEach((id, index) => lines.set(id, parts[index + 1]));
    resolveReady(spikelab);
  }

  if (panel && table && embedded) {
    for (const row of table.tBodies[0].rows) units.set(Number(row.dataset.unit), { id: Number(row.dataset.unit), data: null, row, embedded: true });
    panel.querySelector("button.close").addEventListener("click", hide);
    panel.querySelector("button.previous").addEventListener("click", () => step(-1));
    panel.querySelector("button.next").addEventListener("click", () => step(1));
    panel.querySelector("details.keys").addEventListener("toggle", listKeys);
    table.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-unit]");
      if (!row || event.target.closest("a, input, select") || !getSelection().isCollapsed) return;
      show(Number(row.dataset.unit));
    });
    const follow = () => {
      const found = /^#unit-(-?\d+)$/.exec(location.hash);
      if (found && Number(found[1]) !== spikelab.shown) show(Number(found[1]));
    };
    addEventListener("hashchange", follow);
    addEventListener("scroll", fit, { passive: true });
    addEventListener("resize", fit);
    follow();
    setTimeout(read); // after the page has been drawn
  } else if (embedded) {
    setTimeout(read);
  }
})();

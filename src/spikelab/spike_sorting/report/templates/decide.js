"use strict";
// Decisions on units: keep, drop, label, merge, split, undo, redo. Served by `spikelab view` each step is on disk before
// it is shown; in the report alone they are kept by the browser, and saved as a file for `spikelab curate`.
(() => {
  const lab = window.spikelab;
  const holder = document.getElementById("decisions");
  if (!lab || !holder) return;
  const base = JSON.parse(document.getElementById("decisions-data").textContent);
  const live = Boolean(document.querySelector('meta[name="spikelab-live"]'));
  const table = document.getElementById("unit-table");
  const button = (name) => holder.querySelector(`button[name="${name}"]`);
  const made = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const { plural } = lab.draw;
  if (live && location.search) history.replaceState(null, "", location.pathname + location.hash); // without the token

  // ---- the units after steps, as the Python package replays them ----

  function replayed(steps) {
    const units = new Map(base.units.map(([id, n]) => [id, { id, n, verdict: null, label: null, from: { [id]: n }, made: "" }]));
    let next = Math.max(-1, ...units.keys()) + 1;
    for (const step of steps) {
      if (step.do === "mark") {
        for (const id of step.units) {
          const unit = { ...units.get(id) };
          if ("verdict" in step) unit.verdict = step.verdict;
          if ("label" in step) unit.label = step.label;
          units.set(id, unit);
        }
        continue;
      }
      const gone = (step.units ?? [step.unit]).map((id) => units.get(id));
      const named = gone.filter((unit) => unit.label !== null).sort((a, b) => (b.n ?? 0) - (a.n ?? 0));
      const label = step.do === "merge" ? named[0]?.label ?? null : gone[0].label;
      const from = {};
      for (const unit of gone) for (const id of Object.keys(unit.from)) from[id] = null;
      const made_by = JSON.stringify([step, gone.map((unit) => unit.made)]);
      for (const unit of gone) units.delete(unit.id);
      for (const id of [step.into].flat()) units.set(id, { id, n: null, verdict: null, label, from, made: made_by });
      next += [step.into].flat().length;
    }
    return { units: [...units.values()].sort((a, b) => a.id - b.id), next_id: next };
  }

  // ---- where decisions are kept ----

  class Refused extends Error {}

  async function ask(name, values) {
    let answer;
    try {
      answer = await fetch(`api/${name}`, values === undefined ? {} : {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values),
      });
    } catch {
      throw new Refused("The server does not answer: is 'spikelab view' still running? This was not kept.");
    }
    const found = await answer.json();
    if (answer.status === 409) {
      const error = new Refused("Another window or program changed the decisions meanwhile. What is shown now is the newest; yours was not kept: do it again.");
      error.state = found.state;
      throw error;
    }
    if (!answer.ok) throw new Refused(found.error);
    return found;
  }

  const served = {
    load: () => ask("state"),
    act: (step) => ask("act", { revision: state.revision, step }),
    undo: (steps) => ask("undo", { revision: state.revision, steps }),
    redo: (steps) => ask("redo", { revision: state.revision, steps }),
    words: () => (state.read_only ? "This folder cannot be written to: nothing is kept." : "Every step is on disk."),
  };

  const place = `spikelab decisions ${base.sort} ${base.counted}`;
  const filed = {
    kept: true, // by the browser
    saved: "", // steps of the file that was saved last
    now: () => JSON.stringify([state.steps, state.done]),
    content: () => ({ format: "spikelab decisions 1", sort: base.sort, steps: state.steps, done: state.done }),
    load() {
      let stored = null;
      try {
        stored = JSON.parse(localStorage.getItem(place));
      } catch {
        this.kept = false;
      }
      this.saved = stored?.saved ?? "";
      return this.at((stored ?? base).steps, (stored ?? base).done);
    },
    at(steps, done) {
      return { steps, done, ...replayed(steps.slice(0, done)), busy: "", read_only: false };
    },
    keep(steps, done) {
      try {
        localStorage.setItem(place, JSON.stringify({ steps, done, saved: this.saved }));
      } catch {
        this.kept = false;
      }
    },
    change(steps, done) {
      this.keep(steps, done);
      return this.at(steps, done);
    },
    act(step) {
      const into = { merge: state.next_id, split: [state.next_id, state.next_id + 1] }[step.do];
      const steps = [...state.steps.slice(0, state.done), into === undefined ? step : { ...step, into }];
      return this.change(steps, steps.length);
    },
    undo(count) { return this.change(state.steps, Math.max(0, state.done - count)); },
    redo(count) { return this.change(state.steps, Math.min(state.steps.length, state.done + count)); },
    words() {
      if (!unsaved()) return "";
      const how = `Save them as a file, then: spikelab curate RESULTS --from decisions.json`;
      return this.kept ? `This browser keeps them until then. ${how}` : `They are lost when this page is closed. ${how}`;
    },
  };

  const store = live ? served : filed;
  let state = null;
  const selected = new Set(); // besides the unit that is shown
  const unsaved = () => !live && ![filed.saved, JSON.stringify([base.steps, base.done])].includes(filed.now());

  let queue = Promise.resolve(); // one change after the other, each based on the state after the one before
  function change(what) {
    queue = queue.catch(() => {}).then(async () => {
      holder.setAttribute("aria-busy", "true");
      try {
        state = await what();
        tell("");
      } catch (error) {
        if (error.state) state = error.state;
        if (!(error instanceof Refused)) console.error(error);
        tell(error.message);
      }
      try {
        if (state && table) settle();
        if (state) await render();
      } finally {
        holder.removeAttribute("aria-busy");
      }
    });
    return queue;
  }
  const trouble = holder.querySelector(".trouble");
  function tell(text) {
    trouble.textContent = text;
    trouble.hidden = !text;
  }

  // ---- what can be done ----

  const alive = (id) => state.units.find((unit) => unit.id === id);
  const chosen = () => [...new Set([lab.shown, ...selected])].filter((id) => id !== null && alive(id)); // shown one first
  const act = (step) => change(() => store.act(step));
  const LABELS = { good: "keep", "multi-unit": "drop", noise: "drop" };
  const mark = (units, values) => (units.length ? act({ do: "mark", units, ...values }) : tell("Open or select a unit first."));
  const shown = () => (alive(lab.shown) ? [lab.shown] : []);
  const group = (units, label) => mark(units, { verdict: LABELS[label] ?? null, label: label || null });

  async function merge() {
    const units = chosen();
    if (units.length < 2) return tell("Select two or more units to merge: space selects the next similar one, x the one that is shown.");
    const into = state.next_id;
    const closed = lab.shown === null;
    await act({ do: "merge", units });
    // In place of a unit that was shown the new one is shown already; the user may have opened another since.
    return closed && lab.shown === null && alive(into) ? lab.show(into, {}) : undefined;
  }

  const split = (step) => act({ do: "split", ...step }); // its first part is shown in its place

  const ordered = () => lab.order().filter(alive);

  async function similar(by) { // select the next of the units that look like the one that is shown
    if (lab.shown === null) return walk(by);
    const data = await lab.evidence(lab.shown);
    const like = (data?.similar ?? []).map((other) => other.id).filter((id) => alive(id));
    if (!like.length) return tell(`No unit is known to be like unit ${lab.shown}.`);
    const now = like.findIndex((id) => selected.has(id));
    const next = like[Math.min(Math.max(now + by, 0), like.length - 1)];
    selected.clear();
    selected.add(next);
    tell("");
    return render();
  }

  function walk(by) {
    const ids = ordered();
    if (lab.shown === null && ids.length) return lab.show(ids[by > 0 ? 0 : ids.length - 1], {});
    return lab.step(by);
  }

  function toggle(id) {
    if (selected.has(id)) selected.delete(id);
    else selected.add(id);
    render();
  }

  const naming = document.getElementById("label-dialog");
  function label() {
    const units = chosen();
    if (!units.length) return tell("Open or select a unit first.");
    naming.units = units;
    naming.querySelector("output").textContent = `unit ${units.join(", ")}`;
    naming.querySelector("input").value = alive(units[0]).label ?? "";
    const used = [...new Set(["good", "multi-unit", "noise", ...state.units.map((unit) => unit.label).filter(Boolean)])];
    naming.querySelector("datalist").replaceChildren(...used.map((value) => made("option", { value })));
    return naming.showModal();
  }
  naming.querySelector("form").addEventListener("submit", (event) => {
    const text = naming.querySelector("input").value.trim();
    if (event.submitter?.value === "clear") mark(naming.units, { label: null });
    else if (text) mark(naming.units, text in LABELS ? { verdict: LABELS[text], label: text } : { label: text });
  });
  for (const cancel of document.querySelectorAll('dialog button[value="cancel"]')) {
    cancel.addEventListener("click", () => cancel.closest("dialog").close());
  }

  // ---- what is shown ----

  function described(step) {
    if (step.do === "merge") return `merge ${step.units.join(", ")} into ${step.into}`;
    if (step.do === "split") {
      const how = step.by === "time" ? `at ${Number(step.at_s.toFixed(3))} s` : `by ${step.by}`;
      return `split ${step.unit} ${how} into ${step.into.join(" and ")}`;
    }
    const said = [];
    if ("label" in step) said.push(step.label === null ? "no label" : `\u201c${step.label}\u201d`);
    if ("verdict" in step) said.push({ keep: "keep", drop: "drop" }[step.verdict] ?? "as the criteria decide");
    return `${plural(step.units.length, "unit")} (${step.units.slice(0, 8).join(", ")}${step.units.length > 8 ? ", ..." : ""}): ${said.join(", ")}`;
  }

  function origin(unit) {
    const from = Object.keys(unit.from).map(Number);
    if (from.length === 1 && from[0] === unit.id) return "";
    return from.length > 1 ? `merged from ${from.join(", ")}` : `split from ${from[0]}`;
  }

  function chips(unit) {
    const found = [];
    const text = origin(unit);
    if (text) found.push(made("span", { class: "chip" }, text));
    if (unit.label !== null) found.push(made("span", { class: "chip label" }, unit.label));
    if (unit.verdict) found.push(made("span", { class: `chip ${unit.verdict}` }, unit.verdict === "keep" ? "keep, by hand" : "drop, by hand"));
    return found;
  }

  function new_row(unit) {
    const row = made("tr", { id: `unit-${unit.id}`, "data-unit": unit.id, "data-kind": "new", "data-verdict": "new" });
    for (const heading of table.tHead.rows[0].cells) {
      const column = heading.dataset.column;
      const cell = made(column === "id" ? "th" : "td", { "data-label": heading.textContent, class: heading.classList.contains("number") ? "number" : "" });
      if (column) {
        cell.dataset.column = column;
        cell.dataset.value = column === "id" ? unit.id : column === "verdict" ? "new" : "";
      }
      if (column === "id") {
        cell.scope = "row";
        cell.append(String(unit.id));
      }
      row.append(cell);
    }
    return row;
  }

  // After an undo another unit may have the id of an earlier one: `made` tells them apart.
  const of_page = new Map(live ? [] : replayed(base.steps.slice(0, base.done)).units.map(({ id, made }) => [id, made]));
  const there = new Map(); // of what unit the evidence and row of an id are
  const taken = new Map(); // of units that are merged, split or undone now: evidence and row
  const made_of = (id) => there.get(id) ?? of_page.get(id) ?? "";

  // Units of the registry and rows of the table are those that are there now.
  function settle() {
    const now = new Map(state.units.map((unit) => [unit.id, unit.made]));
    for (const [id, { data, row, embedded }] of [...lab.units]) {
      if (now.get(id) === made_of(id)) continue;
      taken.set(`${id} ${made_of(id)}`, [data, row, embedded]);
      lab.drop(id);
    }
    const came = [];
    for (const unit of state.units) {
      if (!lab.units.has(unit.id)) came.push(unit.id);
      const embedded = unit.made === (of_page.get(unit.id) ?? "");
      if (!lab.units.has(unit.id)) lab.put(...(taken.get(`${unit.id} ${unit.made}`) ?? [null, new_row(unit), embedded]));
      there.set(unit.id, unit.made);
    }
    for (const id of selected) if (!now.has(id)) selected.delete(id);
    if (lab.shown === null || now.has(lab.shown)) return;
    if (came.length) lab.show(came[0]);
    else lab.hide();
  }

  function add_box(row, id) {
    const box = made("input", { type: "checkbox", class: "select", "aria-label": `Select unit ${id}` });
    box.addEventListener("change", () => toggle(id));
    row.querySelector('[data-column="id"]').prepend(box);
    return box;
  }
  // Before the table is drawn for the first time: to lay out a thousand rows again takes as long as all else.
  for (const row of table?.tBodies[0].rows ?? []) add_box(row, Number(row.dataset.unit));

  function rows() {
    const now = new Map(state.units.map((unit) => [unit.id, unit]));
    for (const { id, row } of lab.units.values()) {
      if (!row || !now.has(id)) continue;
      const cell = row.querySelector('[data-column="verdict"]');
      cell.querySelector(".chips")?.remove();
      const found = chips(now.get(id));
      if (found.length) cell.append(made("span", { class: "chips" }, ...found));
      const verdict = now.get(id).verdict ?? "";
      if (row.dataset.decided !== verdict) row.dataset.decided = verdict;
      const box = row.querySelector("input.select") ?? add_box(row, id);
      box.checked = selected.has(id);
      row.classList.toggle("selected", selected.has(id));
    }
    document.dispatchEvent(new CustomEvent("spikelab:changed"));
  }

  // How much of the window this bar covers: what is beside it ends above it.
  function cover() {
    const height = holder.classList.contains("active") ? Math.ceil(holder.getBoundingClientRect().height) : 0;
    document.documentElement.style.setProperty("--bar", `${height}px`);
  }
  new ResizeObserver(cover).observe(holder);

  function tell_state() {
    const left = state.steps.length - state.done;
    const open = live ? state.counted !== base.counted : unsaved();
    const parts = [plural(state.done, "step") + (left ? `, ${left} undone` : "")];
    if (state.done || left || open) parts.push(open ? (live ? "not applied yet" : "not saved") : live ? "applied" : "saved");
    const units = chosen();
    holder.classList.toggle("active", lab.shown !== null || selected.size > 0 || open || left > 0);
    cover();
    holder.querySelector(".said").textContent = `${parts.join(", ")}. ${selected.size ? `Selected: ${units.join(", ")}. ` : ""}${state.busy || store.words()}`;
    holder.querySelector("ol").replaceChildren(...state.steps.map((step, number) => made("li", number < state.done ? {} : { class: "undone" }, described(step))));
    const shut = Boolean(state.busy) || state.read_only;
    button("undo").disabled = shut || !state.done;
    button("redo").disabled = shut || !left;
    button("merge").disabled = shut || units.length < 2;
    button("merge").textContent = units.length > 1 ? `Merge ${units.join(", ")}` : "Merge";
    button("clear").hidden = !selected.size;
    button("save").hidden = live;
    button("apply").hidden = !live;
    button("apply").disabled = shut || !open;
  }

  async function render() {
    if (table) rows();
    tell_state();
    const focused = lab.panel?.contains(document.activeElement) ? document.activeElement.dataset.press : undefined;
    await lab.redraw(); // makes the buttons anew
    if (focused) lab.panel.querySelector(`[data-press="${CSS.escape(focused)}"]`)?.focus();
  }
  for (const event of ["shown", "hidden"]) document.addEventListener(`spikelab:${event}`, () => state && tell_state());
  lab.sections.unshift({
    name: "decide",
    title: "Decide",
    wide: true,
    withoutEvidence: true,
    draw(unit, data, element) {
      const now = state && alive(unit.id);
      if (!now) return false;
      const press = (text, keys, run, pressed = null) => {
        const found = made("button", { type: "button", title: keys, "data-press": text }, text);
        if (pressed !== null) found.setAttribute("aria-pressed", String(pressed));
        found.disabled = Boolean(state.busy) || state.read_only;
        found.addEventListener("click", run);
        return found;
      };
      const one = [unit.id];
      const named = Boolean(now.label) && !(now.label in LABELS);
      element.append(made("div", { class: "buttons" },
        press("Keep", "whatever the criteria say", () => mark(one, { verdict: now.verdict === "keep" ? null : "keep" }), now.verdict === "keep"),
        press("Drop", "whatever the criteria say", () => mark(one, { verdict: now.verdict === "drop" ? null : "drop" }), now.verdict === "drop"),
        ...["good", "multi-unit", "noise"].map((text) => press(text[0].toUpperCase() + text.slice(1), `Alt+${text[0]}: ${LABELS[text]}`, () => group(one, now.label === text ? "" : text), now.label === text)),
        press("Label\u2026", "l", label, named),
        press("Split\u2026", "k", () => lab.split(unit.id)),
        press("Select", "x", () => toggle(unit.id), selected.has(unit.id))));
      const found = chips(now);
      if (found.length) element.append(made("p", { class: "chips" }, ...found));
      return true;
    },
  });

  // ---- keys: as in phy where phy has one ----

  const undo = () => change(() => store.undo(1));
  const redo = () => change(() => store.redo(1));
  for (const [key, words, run] of [
    ["Alt+g", "good: keep the unit that is shown", () => group(shown(), "good")],
    ["Alt+m", "multi-unit: drop it", () => group(shown(), "multi-unit")],
    ["Alt+n", "noise: drop it", () => group(shown(), "noise")],
    ["Alt+u", "as it was: no label, the criteria decide", () => group(shown(), "")],
    ["Ctrl+Alt+g", "good: all selected units, and the one that is shown", () => group(chosen(), "good")],
    ["Ctrl+Alt+m", "multi-unit: all of them", () => group(chosen(), "multi-unit")],
    ["Ctrl+Alt+n", "noise: all of them", () => group(chosen(), "noise")],
    ["Ctrl+Alt+u", "as they were: all of them", () => group(chosen(), "")],
    ["l", "label in your own words", label],
    ["g", "merge the unit that is shown with the selected ones", merge],
    ["k", "split the unit that is shown", () => shown().length && lab.split(lab.shown)],
    ["x", "select the unit that is shown, or take it out", () => shown().length && toggle(lab.shown)],
    [" ", "select the next similar unit", () => similar(1)],
    ["Shift+ ", "select the similar unit before", () => similar(-1)],
    ["Backspace", "unselect", () => { selected.clear(); render(); }],
    ["Home", "first unit of the table", () => ordered().length && lab.show(ordered()[0], {})],
    ["End", "last unit of the table", () => ordered().length && lab.show(ordered().at(-1), {})],
    ["Ctrl+z", "undo", undo],
    ["Ctrl+y", "redo", redo],
    ["Ctrl+Z", null, redo],
    ["Ctrl+s", null, () => !live && save()],
  ]) lab.keys.set(key, { words, run, shown: key.replace(" ", "space") });
  lab.keys.set("ArrowUp", { ...lab.keys.get("ArrowUp"), words: "unit before", shown: "ArrowUp" }); // k splits, as in phy
  // On the button of the unit that is shown already, space means what it means elsewhere.
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.closest?.("tr.opened button.open")) return;
    event.preventDefault();
    similar(event.shiftKey ? -1 : 1);
  });

  function save() {
    const file = new Blob([JSON.stringify(filed.content(), null, 1)], { type: "application/json" });
    const link = made("a", { href: URL.createObjectURL(file), download: "decisions.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    filed.saved = filed.now();
    filed.keep(state.steps, state.done);
    render();
  }

  const bar = holder.querySelector("progress");
  let follows = false;
  async function follow() { // until the decisions are applied, whichever window asked for it
    if (follows || !state?.busy) return;
    follows = true;
    let found = { status: "running" };
    while (found.status === "running") {
      found = await ask("apply").catch((error) => ({ status: "lost", error: error.message }));
      bar.hidden = button("stop").hidden = found.status !== "running";
      if (typeof found.share === "number") bar.value = found.share;
      else bar.removeAttribute("value");
      if (!bar.hidden) holder.querySelector(".said").textContent = `Applying: ${found.words ?? ""}`;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    follows = false;
    if (found.status === "done" || found.status === "idle") return location.reload();
    await change(store.load);
    return tell(`The decisions could not be applied. ${found.error}`);
  }
  const apply = () => change(async () => {
    await ask("apply", { revision: state.revision });
    return store.load();
  }).then(follow);

  for (const [name, run] of Object.entries({ undo, redo, merge, save, apply, clear: () => { selected.clear(); render(); }, stop: () => ask("stop", {}) })) {
    button(name).addEventListener("click", run);
  }
  addEventListener("beforeunload", (event) => {
    if (!live && unsaved() && !filed.kept) event.preventDefault();
  });
  if (live) addEventListener("focus", () => state && !follows && change(store.load).then(follow));
  if (live) {
    lab.source = (id) => ask(`unit?id=${id}`).catch((error) => {
      tell(error.message);
      return null;
    });
  }
  Object.assign(lab, { live, ask, split_by: split, alive: (id) => Boolean(state && alive(id)), decided: () => state });
  holder.hidden = false;
  lab.ready.then(() => change(() => store.load())).then(follow);
})();

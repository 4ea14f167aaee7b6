"use strict";
// Traces of any moment and channel, read by `spikelab view` from the filtered recording, with the spikes coloured.
window.spikelab?.ready?.then((lab) => {
  if (!lab.live || !lab.about) return;
  const { fs, n_samples: total, channel_ids: names, locations } = lab.about;
  const LEFT = 58; // pixels for the names of channels
  const FEWEST = 16; // frames in the window
  const made = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const near = (channel, count) => locations
    .map(([x, y], index) => [(x - locations[channel][0]) ** 2 + (y - locations[channel][1]) ** 2, index])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, count).map((pair) => pair[1])
    .sort((a, b) => locations[b][1] - locations[a][1] || locations[a][0] - locations[b][0]);

  class View {
    constructor(element, unit, channel) {
      this.unit = unit;
      this.channels = near(channel, Math.min(8, names.length));
      this.frames = Math.min(total, Math.round(0.2 * fs));
      this.start = 0;
      this.scale = null; // uV from one channel to the next; null: chosen by the window
      this.answer = null;
      this.request = 0;
      this.canvas = made("canvas", { tabindex: "0", role: "img", class: "traces", "aria-label": "Filtered traces. Arrow keys move in time, plus and minus zoom, n and p go to the next and previous spike." });
      this.note = made("p", { class: "note", role: "status" });
      this.time = made("input", { type: "number", step: "any", min: "0", "aria-label": "Time (s)" });
      this.list = made("input", { type: "text", "aria-label": "Channels", size: "18" });
      const press = (text, title, run) => {
        const button = made("button", { type: "button", title }, text);
        button.addEventListener("click", run);
        return button;
      };
      element.append(
        made("div", { class: "buttons" },
          press("\u2190 spike", "the unit's spike before (p)", () => this.jump(true)), press("spike \u2192", "the unit's next spike (n)", () => this.jump(false)),
          press("+", "zoom in (+)", () => this.zoom(0.5)), press("\u2212", "zoom out (\u2212)", () => this.zoom(2)),
          press("larger", "larger traces (Shift and up)", () => this.enlarge(0.7)), press("smaller", "smaller traces (Shift and down)", () => this.enlarge(1 / 0.7)),
          made("label", {}, "Time (s) ", this.time), made("label", {}, "Channels ", this.list)),
        this.canvas, this.note);
      this.time.addEventListener("change", () => this.go(Number(this.time.value) * fs - this.frames / 2));
      this.list.addEventListener("change", () => this.choose(this.list.value));
      this.canvas.addEventListener("keydown", (event) => this.key(event));
      this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      this.drag();
      new ResizeObserver(() => this.load()).observe(this.canvas);
    }

    choose(text) {
      if (text.trim() === "all") this.channels = names.map((_, index) => index).slice(0, 256);
      else {
        const wanted = text.split(",").map((name) => names.indexOf(name.trim()));
        if (wanted.some((index) => index < 0) || !wanted.length) {
          this.note.textContent = `There is no such channel. They are named ${names.slice(0, 5).join(", ")}\u2026 up to ${names.at(-1)}; several with commas, or all.`;
          return;
        }
        this.channels = wanted.slice(0, 256);
      }
      this.scale = null;
      this.load();
    }

    go(start) {
      this.start = Math.round(Math.max(0, Math.min(start, total - this.frames)));
      return this.load();
    }

    zoom(factor, at = 0.5) {
      const frames = Math.round(Math.max(FEWEST, Math.min(this.frames * factor, total, 20 * fs)));
      const start = this.start + (this.frames - frames) * at;
      this.frames = frames;
      this.go(start);
    }

    enlarge(factor) {
      this.scale = this.spacing() * factor;
      this.draw();
    }

    async jump(back) {
      if (this.unit === null) return;
      const middle = Math.round(this.start + this.frames / 2);
      const found = await lab.ask(`spike?unit=${this.unit}&after=${middle}${back ? "&back=1" : ""}`).catch(() => null);
      if (found?.frame !== null && found) await this.go(found.frame - this.frames / 2);
      else this.note.textContent = `Unit ${this.unit} has no spike ${back ? "before" : "after"} this.`;
    }

    key(event) {
      const run = {
        ArrowLeft: () => this.go(this.start - this.frames / 4), ArrowRight: () => this.go(this.start + this.frames / 4),
        PageUp: () => this.go(this.start - this.frames), PageDown: () => this.go(this.start + this.frames),
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
        n: () => this.jump(false), p: () => this.jump(true),
        ArrowUp: event.shiftKey ? () => this.enlarge(0.7) : null, ArrowDown: event.shiftKey ? () => this.enlarge(1 / 0.7) : null,
      }[event.key];
      if (!run || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      run();
    }

    wheel(event) {
      if (!event.ctrlKey && !event.shiftKey) return; // the page scrolls
      event.preventDefault();
      const box = this.canvas.getBoundingClientRect();
      if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, (event.clientX - box.left - LEFT) / (box.width - LEFT));
      else this.go(this.start + (Math.sign(event.deltaY || event.deltaX) * this.frames) / 8);
    }

    drag() {
      let from = null;
      this.canvas.addEventListener("pointerdown", (event) => {
        this.canvas.setPointerCapture(event.pointerId);
        from = { at: event.clientX, start: this.start };
      });
      this.canvas.addEventListener("pointermove", (event) => {
        if (from) this.go(from.start - ((event.clientX - from.at) / (this.canvas.clientWidth - LEFT)) * this.frames);
      });
      this.canvas.addEventListener("pointerup", () => { from = null; });
    }

    async load() {
      if (!this.canvas.clientWidth) return;
      this.request += 1;
      const own = this.request;
      const pixels = Math.max(50, Math.round(this.canvas.clientWidth - LEFT));
      try {
        const answer = await lab.ask(`traces?start=${this.start}&frames=${this.frames}&pixels=${pixels}&channels=${this.channels.join(",")}`);
        if (own !== this.request) return;
        if (answer.counts === undefined) {
          this.note.textContent = answer.note;
          if (answer.wait) setTimeout(() => this.canvas.isConnected && this.load(), 1500);
          return;
        }
        answer.values = new Int16Array(Uint8Array.from(atob(answer.counts), (letter) => letter.charCodeAt(0)).buffer);
        this.answer = answer;
        this.start = answer.start;
        this.frames = answer.end - answer.start;
      } catch (error) {
        this.note.textContent = error.message;
        return;
      }
      this.time.value = Number(((this.start + this.frames / 2) / fs).toFixed(5));
      this.list.value = this.channels.length === names.length ? "all" : this.channels.map((index) => names[index]).join(", ");
      this.draw();
    }

    spacing() { // uV of half the way from line to line
      if (this.scale !== null) return this.scale;
      const { values, gain_uv: gain } = this.answer;
      let largest = 1;
      for (const value of values) largest = Math.max(largest, Math.abs(value));
      return Math.max(20, 1.2 * largest * gain);
    }

    draw() {
      const { answer, canvas } = this;
      if (!answer) return;
      const ratio = devicePixelRatio || 1;
      const width = canvas.clientWidth;
      const height = Math.max(160, Math.min(720, 30 + answer.channels.length * 46));
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      pen.clearRect(0, 0, width, height);
      const room = (height - 24) / answer.channels.length;
      const spacing = this.spacing();
      const x = (frame) => LEFT + ((frame - answer.start) / (answer.end - answer.start)) * (width - LEFT);
      pen.fillStyle = "#e3e3e3";
      for (const [from, to] of answer.dead) pen.fillRect(x(Math.max(from, answer.start)), 0, x(Math.min(to, answer.end)) - x(Math.max(from, answer.start)), height - 24);
      const points = answer.values.length / answer.channels.length;
      const frame = (index) => answer.start + (answer.step === 1 ? index : Math.floor(index / 2) * answer.step + (index % 2) * answer.step * 0.5);
      const y = (row, count) => (row + 0.5) * room - ((count * answer.gain_uv) / spacing) * room * 0.5;
      const line = (row, from, to, colour, thick) => {
        pen.strokeStyle = colour;
        pen.lineWidth = thick;
        pen.beginPath();
        for (let i = Math.max(0, from); i < Math.min(points, to); i += 1) pen.lineTo(x(frame(i)), y(row, answer.values[row * points + i]));
        pen.stroke();
      };
      pen.font = "11px system-ui, sans-serif";
      pen.textBaseline = "middle";
      answer.channels.forEach((channel, row) => {
        if (room > 9) {
          pen.fillStyle = "#595959";
          pen.fillText(names[channel].slice(0, 9), 2, (row + 0.5) * room);
        }
        line(row, 0, points, "#8a8a8a", 0.8);
      });
      const reach = Math.ceil(0.0008 * fs);
      const index = (at) => (answer.step === 1 ? at - answer.start : Math.floor((at - answer.start) / answer.step) * 2);
      const legend = [];
      let elsewhere = 0; // units with spikes in this window, none of them on these channels
      for (const { unit, frames, channel: main } of answer.spikes) {
        const colour = unit === this.unit ? "#000" : lab.colour(unit);
        const rows = answer.channels.map((channel, row) => [channel, row]).filter(([channel]) => main === null || this.around(channel, main)).map((pair) => pair[1]);
        if (!rows.length) {
          elsewhere += 1;
          continue;
        }
        for (const at of frames) {
          for (const row of rows) line(row, index(at - reach), index(at + reach) + 2, colour, unit === this.unit ? 1.8 : 1.2);
          pen.fillStyle = colour;
          pen.fillRect(x(at) - 0.75, height - 24, 1.5, 5);
        }
        legend[unit === this.unit ? "unshift" : "push"](`${unit} (${frames.length})`);
      }
      pen.fillStyle = "#595959";
      pen.textAlign = "center";
      const step = 10 ** Math.floor(Math.log10((answer.end - answer.start) / fs)) / (((answer.end - answer.start) / fs) / 10 ** Math.floor(Math.log10((answer.end - answer.start) / fs)) < 3 ? 2 : 1);
      for (let tick = Math.ceil(answer.start / fs / step) * step; tick <= answer.end / fs; tick += step) {
        if (x(tick * fs) > LEFT + 20 && x(tick * fs) < width - 24) pen.fillText(`${Number(tick.toPrecision(8))} s`, x(tick * fs), height - 9);
      }
      pen.textAlign = "left";
      const shown = (answer.end - answer.start) / fs;
      this.note.textContent = `${answer.note ? `${answer.note} ` : ""}${Number(shown.toPrecision(3))} s, ${Math.round(2 * spacing)} uV from line to line`
        + (answer.step > 1 ? `, least and largest of each ${answer.step} frames` : "")
        + (answer.dead.length ? ", grey: dead time" : "")
        + `. Spikes of unit${legend.length === 1 ? "" : "s"}: ${legend.slice(0, 12).join(", ") || "none"}${legend.length > 12 ? "\u2026" : ""}`
        + (elsewhere ? `; ${elsewhere} other${elsewhere === 1 ? "" : "s"} elsewhere` : "")
        + (answer.more_spikes ? "; there are too many to show all." : ".");
    }

    around(channel, main) {
      return Math.hypot(locations[channel][0] - locations[main][0], locations[channel][1] - locations[main][1]) <= 60;
    }
  }

  let last = null; // the view is made once for a unit: the panel may be drawn again at every change
  const before = lab.sections.findIndex((section) => section.name === "amplitudes");
  lab.sections.splice(before < 0 ? lab.sections.length : before, 0, {
    name: "traces",
    title: "Traces",
    wide: true,
    withoutEvidence: true,
    draw(unit, data, element) {
      if (!lab.alive(unit.id)) return false;
      if (last?.unit !== unit.id) {
        const holder = made("div", {});
        last = { unit: unit.id, holder, view: new View(holder, unit.id, data?.channel ?? 0) };
        last.view.jump(false);
      }
      element.append(last.holder);
      return true;
    },
  });
  lab.redraw();
  lab.keys.set("t", { words: "traces: put the keyboard on them (arrows move, + and \u2212 zoom, n and p go from spike to spike)", run: () => last?.view.canvas.focus() });
});

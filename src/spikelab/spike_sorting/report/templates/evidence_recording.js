"use strict";
// What is drawn of the recording as a whole: traces with their spikes, quality over the electrodes, yield by electrode.
(() => {
  const { draw, ready } = window.spikelab;
  const { element, svg, axes, bars, scatter, number, plural, unpack, ticks, extent } = draw;

  // ---- traces ----

  const MARK_MS = 0.6; // of a trace that is coloured on each side of a spike
  function traces(holder, about) {
    const shown = about.traces, n = shown.channels.length, fs = about.fs;
    const uv = unpack(shown.uv), length = shown.length, row = 26, width = 1080, left = 62, height = n * row + 34;
    const name = (channel) => about.channel_ids[channel] || String(channel);
    const [low, high] = extent(uv), noisy = Math.max(...(about.noise || [0]).filter(Number.isFinite));
    const scale = row / Math.max(12 * noisy, 0.35 * (high - low), 1e-9);
    const x = (frame) => left + (frame / length) * (width - left - 4);
    const places = new Map(shown.channels.map((channel, place) => [channel, place]));
    const spikes = shown.spikes.flatMap(([id, frames]) => {
      const channel = about.channels[about.unit_ids.indexOf(id)];
      return places.has(channel) ? frames.map((frame) => ({ id, frame, place: places.get(channel) })) : [];
    });
    const words = `filtered traces of ${n} channels over ${number((1000 * length) / fs)} ms with ${plural(spikes.length, "spike")}`;
    const canvas = scatter(width, height, words, (pen) => {
      const path = (place, from, to) => {
        pen.beginPath();
        const columns = Math.max(1, (to - from) / (2 * (width - left))), base = (place + 0.55) * row;
        for (let at = from; at < to; at += columns) { // the extremes of each column of pixels
          let bottom = Infinity, top = -Infinity;
          for (let i = Math.floor(at); i < Math.min(to, Math.max(at + columns, Math.floor(at) + 1)); i++) {
            const value = uv[place * length + i];
            if (value < bottom) bottom = value;
            if (value > top) top = value;
          }
          pen.lineTo(x(at), base - top * scale);
          if (bottom < top) pen.lineTo(x(at), base - bottom * scale);
        }
        pen.stroke();
      };
      pen.font = "11px system-ui, sans-serif";
      pen.textAlign = "end";
      for (let place = 0; place < n; place++) {
        pen.fillStyle = "#595959";
        pen.fillText(name(shown.channels[place]), left - 6, (place + 0.55) * row + 3);
        pen.strokeStyle = "#6b6b6b";
        pen.lineWidth = 0.6;
        path(place, 0, length);
      }
      const reach = Math.round((MARK_MS * fs) / 1000);
      pen.lineWidth = 1.6;
      for (const { id, frame, place } of spikes) {
        pen.strokeStyle = window.spikelab.colour(id);
        path(place, Math.max(0, frame - reach), Math.min(length, frame + reach + 1));
      }
      const bar = ticks(0, (2 * row) / scale, 2).at(-1);
      pen.strokeStyle = "#1a1a1a";
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(left, height - 4);
      pen.lineTo(left, height - 4 - Math.min(30, bar * scale));
      pen.moveTo(left, height - 4);
      pen.lineTo(x((length * 10) / ((1000 * length) / fs)), height - 4);
      pen.stroke();
      pen.fillStyle = "#1a1a1a";
      pen.textAlign = "start";
      pen.fillText(`${number(Math.min(30, bar * scale) / scale)} uV, 10 ms`, x((length * 10) / ((1000 * length) / fs)) + 6, height - 5);
    });
    const found = [...new Set(spikes.map(({ id }) => id))];
    const key = element("p", { class: "key inline" }, ...found.flatMap((id) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = window.spikelab.colour(id);
      return [element("a", { href: `#unit-${id}` }, swatch, ` ${id}`), " "];
    }));
    const hidden = shown.spikes.reduce((sum, [, frames]) => sum + frames.length, 0) - spikes.length;
    const left_out = hidden ? ` ${plural(hidden, "spike")} of units whose main channel is not among these ${hidden === 1 ? "is" : "are"} not marked.` : "";
    holder.append(element("p", { class: "note" },
      `${n} of ${plural(about.locations.length, "channel")}, from ${number(shown.start / fs)} s: a stretch with a typical number of spikes. ` +
      `A spike is coloured on the main channel of its unit.${left_out}`), element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Traces" }, canvas), key);
  }

  // ---- quality over the electrodes ----

  function perChannel(about) {
    const n = about.locations.length;
    const counts = () => new Array(n).fill(0);
    const found = { kept: counts(), all: counts(), amplitude: new Array(n).fill(null), rate: counts() };
    about.channels.forEach((channel, unit) => {
      found.all[channel] += 1;
      found.rate[channel] += about.n_spikes[unit] / about.seconds;
      if (!about.kept[unit]) return;
      found.kept[channel] += 1;
      if (about.amplitudes[unit] > (found.amplitude[channel] || 0)) found.amplitude[channel] = about.amplitudes[unit];
    });
    return found;
  }

  const STOPS = [[255, 247, 214], [150, 196, 196], [62, 118, 168], [18, 40, 100]]; // pale yellow to dark blue
  function shade(share) {
    const at = Math.min(share, 0.999) * (STOPS.length - 1), low = Math.floor(at), part = at - low;
    return `rgb(${STOPS[low].map((value, i) => Math.round(value + (STOPS[low + 1][i] - value) * part)).join(", ")})`;
  }

  function electrodes(holder, about) {
    const found = perChannel(about), choices = [];
    if (about.noise) choices.push(["noise", "Noise (uV)", about.noise]);
    choices.push(["kept", "Kept units", found.kept], ["all", "All units", found.all], ["amplitude", "Largest amplitude of a kept unit (uV)", found.amplitude], ["rate", "Spikes per second, all units", found.rate]);
    const select = element("select", { name: "measure" }, ...choices.map(([name, words]) => element("option", { value: name }, words)));
    const form = element("form", { class: "controls", "aria-label": "What the electrodes show" }, element("label", {}, "Show ", select));
    form.addEventListener("submit", (event) => event.preventDefault());
    const picture = element("div", { class: "electrode-map" }), scale = element("p", { class: "key", "aria-live": "polite" });
    const [x0, x1] = extent(about.locations.map((p) => p[0])), [y0, y1] = extent(about.locations.map((p) => p[1]));
    const laid = y1 - y0 > 3 * (x1 - x0), along = laid ? 1 : 0, across = laid ? 0 : 1;
    const n = about.locations.length, space = 0.04 * Math.max(x1 - x0, y1 - y0, 20);
    const low = [x0 - space, y0 - space], high = [x1 + space, y1 + space];
    const long = high[along] - low[along], short = high[across] - low[across];
    const scaling = Math.min(830 / long, 440 / short);
    const width = Math.max(300, scaling * long) + 70, height = Math.max(60, scaling * short) + 60;
    const size = Math.max(2, Math.min(24, 0.7 * Math.sqrt(((width - 70) * (height - 60)) / n)));
    function paint() {
      const [, words, values] = choices.find(([name]) => name === select.value);
      const known = values.filter((value) => value !== null && Number.isFinite(value));
      const [least, most] = extent(known);
      const drawing = svg(width, height, `${words} of ${n} electrodes, from ${number(least)} to ${number(most)}`);
      const frame = axes(drawing, { width, height, left: 50, right: 20, top: 14, bottom: 46, x: [low[along], high[along]], y: [low[across], high[across]], xLabel: laid ? "y (um)" : "x (um)", yLabel: laid ? "x (um)" : "y (um)",
        yTicks: ticks(low[across], high[across], height > 200 ? 4 : 2) });
      about.locations.forEach((place, channel) => {
        const value = values[channel];
        const name = about.channel_ids[channel] || String(channel);
        const fill = value === null || !Number.isFinite(value) ? "#fff" : shade(most > least ? (value - least) / (most - least) : 0);
        drawing.append(element("rect", { x: (frame.x(place[along]) - size / 2).toFixed(1), y: (frame.y(place[across]) - size / 2).toFixed(1), width: size.toFixed(1), height: size.toFixed(1),
          style: `fill:${fill};stroke:#8a8a8a;stroke-width:0.4` }, element("title", {}, `channel ${name}: ${number(value)}`)));
      });
      picture.replaceChildren(drawing);
      const ramp = element("span", { class: "ramp" });
      ramp.style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(shade).join(", ")})`;
      scale.replaceChildren(`${words}: ${number(least)} `, ramp, ` ${number(most)}${known.length < n ? `; white: none on ${plural(n - known.length, "electrode")}` : ""}`);
    }
    select.addEventListener("change", paint);
    holder.append(form, scale, element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Map of electrodes" }, picture));
    paint();
    yields(holder, found.kept, n);
  }

  function yields(holder, kept, n) {
    const most = Math.max(...kept, 1), counts = new Array(most + 1).fill(0);
    kept.forEach((count) => { counts[count] += 1; });
    const total = kept.reduce((a, b) => a + b, 0), used = n - counts[0];
    const drawing = svg(360, 190, `number of electrodes by the kept units whose main electrode they are`);
    const frame = axes(drawing, { width: 360, height: 190, left: 50, x: [-0.5, most + 0.5], y: [0, Math.max(...counts) * 1.05], xLabel: "Kept units of an electrode", yLabel: "Electrodes", xTicks: ticks(0, most, 6, true), yTicks: ticks(0, Math.max(...counts), 4, true) });
    drawing.append(bars(frame, Array.from({ length: most + 2 }, (_, i) => i - 0.5), counts, "kept"));
    holder.append(element("h3", {}, "Yield by electrode"), element("p", {},
      `${plural(total, "kept unit")} on ${number(used)} of ${plural(n, "electrode")}: ${number(total / n)} per electrode, ${number(used ? total / used : 0)} per electrode that has any.`), drawing);
  }

  function pairs(found) {
    const section = document.getElementById("pairs");
    if (!section || !found.length) return;
    section.hidden = false;
    section.querySelector("ul").replaceChildren(...found.map(({ ids, verdict, similarity }) => draw.element("li", {},
      draw.element("a", { href: `#unit-${ids[0]}` }, `Units ${ids[0]} and ${ids[1]}`), `: ${verdict}, similarity ${similarity.toFixed(2)}`)));
  }

  ready.then(({ about }) => {
    pairs(about.pairs);
    const holders = { traces: document.querySelector("#evidence-traces .drawn"), electrodes: document.querySelector("#electrodes .drawn") };
    if (holders.traces && about.traces) traces(holders.traces, about);
    if (holders.electrodes) electrodes(holders.electrodes, about);
  });
})();

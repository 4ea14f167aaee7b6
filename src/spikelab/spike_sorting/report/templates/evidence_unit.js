"use strict";
// What the panel shows of a unit, section by section: see the registry in evidence.js.
(() => {
  const { sections, draw } = window.spikelab;
  const { element, svg, label, axes, line, bars, scatter, figure, number, plural, unpack, ticks, extent } = draw;
  const about = () => window.spikelab.about;
  const PATIENCE = 0.06; // white space around data, as a share of their range

  function padded(values, zero = false) {
    let [low, high] = extent(values);
    if (zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
    const space = PATIENCE * (high - low || Math.abs(high) || 1);
    return [low - space, high + space];
  }
  const ago = (data, samples) => (samples * 1000) / about().fs;

  // ---- verdict ----

  sections.push({ name: "verdict", wide: true, draw(unit, data, part) {
    if (data.kept !== null) {
      part.append(element("p", {}, element("span", { class: `mark ${data.kept ? "kept" : "failed"}` }, data.kept ? "kept" : "not kept"),
        data.why.length === 1 ? ` \u2013 ${data.why[0]}` : ""));
      if (data.why.length > 1) part.append(element("ul", {}, ...data.why.map((words) => element("li", {}, words))));
    }
    if (data.expected) part.append(element("p", { class: "expected" }, data.expected));
    const names = { label: "label", decided: "decided by hand", merged_from: "merged from units", split_from: "split from unit",
      sorter_unit_id: "the sorter's id", imported_label: "imported label", group: "group", electrode: "electrode" };
    const facts = [["spikes", number(data.n_spikes)], ["rate", data.rate_hz === null ? "n/a" : `${number(data.rate_hz)} Hz`],
      ["channel", data.channel_id], ["place", `${data.place.map(number).join(", ")} um`]];
    for (const [name, words] of Object.entries(names)) {
      const value = data.attributes[name];
      if (value !== undefined && value !== null) facts.push([words, Array.isArray(value) ? value.join(", ") : String(value)]);
    }
    part.append(element("dl", { class: "facts" }, ...facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value)))));
  } });

  // ---- waveforms ----

  sections.push({ name: "wave", title: "Mean spike and spread", draw(unit, data, part) {
    const mean = data.mean, spread = data.spread;
    if (!mean.some((value) => value !== null)) return false;
    const ms = mean.map((_, index) => ago(data, index - data.peak));
    const high = spread ? mean.map((value, i) => value + spread[i]) : mean;
    const low = spread ? mean.map((value, i) => value - spread[i]) : mean;
    const drawing = svg(300, 200, `mean spike of unit ${unit.id} on its main channel, ${number(extent(mean)[0])} to ${number(extent(mean)[1])} uV`);
    const frame = axes(drawing, { width: 300, height: 200, x: [ms[0], ms.at(-1)], y: padded([...low, ...high], true),
      xLabel: "Time (ms)", yLabel: "uV" });
    if (spread) {
      const there = ms.map((value, i) => `${frame.x(value).toFixed(1)} ${frame.y(high[i]).toFixed(1)}`);
      const back = ms.map((value, i) => `${frame.x(value).toFixed(1)} ${frame.y(low[i]).toFixed(1)}`).reverse();
      drawing.append(element("path", { class: "spread", d: `M${[...there, ...back].join("L")}Z` }));
    }
    drawing.append(element("path", { class: "zero", d: `M${frame.left} ${frame.y(0).toFixed(1)}H${frame.right}` }), line(frame, ms, mean, "line kept"));
    part.append(figure(`Main channel ${data.channel_id}.${spread ? " Shaded: one standard deviation of the spikes." : ""}`, drawing));
  } });

  function heat(share) { // from orange to violet, for what is early to what is late
    const mix = (a, b) => Math.round(a + (b - a) * share);
    return `rgb(${mix(205, 120)}, ${mix(95, 40)}, ${mix(20, 150)})`;
  }

  sections.push({ name: "footprint", title: "Footprint", draw(unit, data, part) {
    const { channels, peak, latency_ms: latency } = data.footprint;
    const waves = unpack(data.footprint.waves), length = waves.length / channels.length;
    const places = channels.map((channel) => about().locations[channel]);
    const gaps = (values) => { const own = [...new Set(values)].sort((a, b) => a - b); const steps = own.slice(1).map((v, i) => v - own[i]).filter((v) => v > 1); return steps.length ? Math.min(...steps) : 40; };
    const [x0, x1] = extent(places.map((p) => p[0])), [y0, y1] = extent(places.map((p) => p[1]));
    const dx = gaps(places.map((p) => p[0])), dy = gaps(places.map((p) => p[1]));
    const width = 300, height = Math.max(150, Math.min(420, ((y1 - y0) / dy + 1.6) * 42));
    const drawing = svg(width, height, `mean spike of unit ${unit.id} on ${channels.length} electrodes at their places`);
    const cell = Math.min(90, (width - 30) / ((x1 - x0) / dx + 1));
    const toX = (x) => 15 + cell / 2 + (x1 > x0 ? (x - x0) / (x1 - x0) * (width - 30 - cell) : (width - 30 - cell) / 2);
    const toY = (y) => 24 + (y1 > y0 ? (y1 - y) / (y1 - y0) * (height - 56) : (height - 56) / 2);
    const [low, high] = extent(waves), scale = 44 / (high - low || 1);
    const known = latency.filter((value) => value !== null), [first, last] = extent(known);
    const travels = known.length > 1 && last - first >= 1000 / about().fs; // less than a sample is not told
    channels.forEach((channel, row) => {
      const at = [toX(places[row][0]), toY(places[row][1])];
      let path = "";
      for (let i = 0; i < length; i++) {
        path += `${i ? "L" : "M"}${(at[0] + (i / (length - 1) - 0.5) * cell * 0.9).toFixed(1)} ${(at[1] - waves[row * length + i] * scale).toFixed(1)}`;
      }
      const late = latency[row];
      const colour = late === null || !travels ? null : heat((late - first) / (last - first));
      const name = about().channel_ids[channel] || String(channel);
      drawing.append(element("g", {}, element("title", {}, `channel ${name}${late === null ? "" : `, ${number(late)} ms`}`),
        element("circle", { class: "site", cx: at[0].toFixed(1), cy: at[1].toFixed(1), r: 1.6 }),
        element("path", { class: late === null ? "line pale" : "line", style: colour ? `stroke:${colour}` : null, d: path,
          "stroke-width": row === 0 ? 2.2 : 1.3 })));
    });
    const bar = ticks(0, high - low, 2).at(-1) || high - low;
    drawing.append(element("path", { class: "axis", d: `M5 ${height - 6}v${(-bar * scale).toFixed(1)}` }), label(9, height - 6, `${number(bar)} uV`, "start"));
    const reached = `It reaches ${number(known.length)} of these electrodes`;
    const words = travels ? `${reached} within ${number(Number((last - first).toFixed(2)))} ms: orange first, violet last.` : `${reached} at once; grey: those that hardly see it.`;
    part.append(figure(words, drawing));
  } });

  sections.push({ name: "array", title: "Amplitude on all electrodes", draw(unit, data, part) {
    const places = about().locations, values = unpack(data.amplitudes), width = 300;
    if (places.length <= data.footprint.channels.length) return false; // all of them are in the footprint
    const sides = [0, 1].map((axis) => extent(places.map((place) => place[axis])));
    const laid = sides[1][1] - sides[1][0] > 2 * (sides[0][1] - sides[0][0]), [along, across] = laid ? [1, 0] : [0, 1];
    const long = Math.max(sides[along][1] - sides[along][0], 1), short = sides[across][1] - sides[across][0];
    const height = Math.max(26, Math.min(220, (280 * short) / long)) + 20, top = Math.max(...values) || 1;
    const size = Math.max(1.6, Math.min(14, 0.75 * Math.sqrt((280 * (height - 20)) / places.length)));
    const drawing = svg(width, height, `amplitude of unit ${unit.id} on ${places.length} electrodes, at most ${number(top)} uV`);
    places.forEach((place, channel) => {
      const x = 10 + ((place[along] - sides[along][0]) / long) * 280, y = height - 10 - ((place[across] - sides[across][0]) / (short || 1)) * (height - 20);
      drawing.append(element("rect", { class: "electrode", x: (x - size / 2).toFixed(1), y: (y - size / 2).toFixed(1), width: size.toFixed(1), height: size.toFixed(1),
        "fill-opacity": Math.max(0.04, values[channel] / top).toFixed(2) }, element("title", {}, `channel ${about().channel_ids[channel] || channel}: ${number(values[channel])} uV`)));
    });
    part.append(figure(`The darker, the larger, up to ${number(top)} uV.${laid ? " The column is laid down: y runs from left to right." : ""}`, drawing));
  } });

  // ---- intervals ----

  sections.push({ name: "acg", title: "Auto-correlogram", draw(unit, data, part) {
    const { counts, bin_ms: bin } = data.acg, reach = counts.length / 2;
    const edges = Array.from({ length: counts.length + 1 }, (_, index) => (index - reach) * bin);
    const top = Math.max(...counts, 1), n = counts.reduce((a, b) => a + b, 0);
    const drawing = svg(300, 180, `auto-correlogram of unit ${unit.id}, ${n} pairs of spikes within ${number(reach * bin)} ms`);
    const frame = axes(drawing, { width: 300, height: 180, x: [edges[0], edges.at(-1)], y: [0, top * 1.05], xLabel: "Lag (ms)",
      yLabel: "Pairs", yTicks: ticks(0, top, 4, true), xTicks: [-50, -25, 0, 25, 50].filter((tick) => Math.abs(tick) <= reach * bin + 1e-9) });
    drawing.append(bars(frame, edges, counts, "kept"));
    part.append(figure(`Bins of ${number(bin)} ms; pairs across epochs and dead time are left out.`, drawing));
  } });

  sections.push({ name: "isi", title: "Intervals", draw(unit, data, part) {
    const { counts, edges } = data.isi, top = Math.max(...counts, 1), n = counts.reduce((a, b) => a + b, 0);
    if (!n) return false;
    const drawing = svg(300, 180, `${n} intervals between spikes of unit ${unit.id}, on a logarithmic scale`);
    const frame = axes(drawing, { width: 300, height: 180, x: [edges[0], edges.at(-1)], y: [0, top * 1.05], log: true,
      xLabel: "Interval (ms)", yLabel: "Intervals", xTicks: [1, 10, 100, 1000, 10000], yTicks: ticks(0, top, 4, true) });
    drawing.append(bars(frame, edges, counts, "kept"),
      element("path", { class: "threshold", d: `M${frame.x(1.5).toFixed(1)} ${frame.top}V${frame.base}` }));
    const short = counts.reduce((sum, count, i) => sum + (edges[i + 1] <= 1.5001 ? count : 0), 0);
    part.append(figure(`${number(short)} of ${number(n)} are shorter than 1.5 ms (dotted).`, drawing));
  } });

  // ---- over time ----

  function overTime(unit, data, values, name, words) {
    const width = 620, height = 150, recording = about(), frames = unpack(data.spikes.frames);
    const holder = element("div", { class: "overlaid" });
    const drawing = svg(width, height, `${words} of unit ${unit.id} over time, ${data.spikes.drawn} of ${data.spikes.n} spikes`);
    const frame = axes(drawing, { width, height, x: [0, recording.seconds], y: padded(values), xLabel: "Time (s)", yLabel: name, left: 52 });
    const base = [];
    for (const [from, to] of recording.dead_s) {
      base.push(element("rect", { class: "dead", x: frame.x(from).toFixed(1), y: frame.top, height: frame.base - frame.top,
        width: Math.max(0.7, frame.x(to) - frame.x(from)).toFixed(1) }, element("title", {}, "dead time")));
    }
    recording.epochs.slice(1).forEach((epoch) => base.push(element("path", { class: "epoch", d: `M${frame.x(epoch.start_s).toFixed(1)} ${frame.top}V${frame.base}` },
      element("title", {}, epoch.name || "epoch"))));
    drawing.prepend(...base);
    const dots = scatter(width, height, "", (pen) => {
      pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--kept").trim() || "#2166ac";
      pen.globalAlpha = frames.length > 1000 ? 0.45 : 0.7;
      frames.forEach((at, i) => pen.fillRect(frame.x(at / recording.fs) - 0.9, frame.y(values[i]) - 0.9, 1.8, 1.8));
    });
    dots.setAttribute("aria-hidden", "true");
    dots.removeAttribute("role");
    holder.append(dots, drawing);
    return holder;
  }
  function howMany({ n, drawn, stretches }) {
    if (drawn === n) return `All ${plural(n, "spike")}.`;
    return `${number(drawn)} of ${number(n)} spikes: the smallest and the largest of each of ${number(stretches)} stretches of the recording, and others evenly.`;
  }

  sections.push({ name: "amplitudes", title: "Amplitude over time", wide: true, draw(unit, data, part) {
    if (!data.spikes || !data.spikes.n) return false;
    const marks = [about().epochs.length > 1 ? "Dotted: a new epoch." : "", about().dead_s.length ? "Grey: dead time." : ""].filter(Boolean).join(" ");
    part.append(figure(`${howMany(data.spikes)} ${marks}`, overTime(unit, data, unpack(data.spikes.amplitude), "uV", "amplitude")));
  } });

  sections.push({ name: "positions", title: "Position over time", wide: true, draw(unit, data, part) {
    if (!data.spikes || !data.spikes.n) return false;
    const sides = [0, 1].map((axis) => { const [low, high] = extent(about().locations.map((place) => place[axis])); return high - low; });
    const shown = [["y", 1], ["x", 0]].filter(([, axis]) => sides[axis] > 0 && sides[axis] * 4 >= Math.max(...sides));
    if (!shown.length) return false;
    for (const [name] of shown) part.append(overTime(unit, data, unpack(data.spikes[name]), `${name} (um)`, `place along ${name}`));
    part.append(element("p", { class: "note" }, "Centre of the squared voltages near the main electrode, at the frame of each spike."));
  } });

  // ---- similar units ----

  sections.push({ name: "similar", title: "Most similar units", wide: true, draw(unit, data, part) {
    if (!data.similar.length) {
      part.append(element("p", { class: "none" }, "No other unit is on these electrodes."));
      return true;
    }
    for (const other of data.similar) {
      const n = other.ccg.length, bin = Math.max(1, Math.round(about().fs * 0.0005)) * 1000 / about().fs;
      const edges = Array.from({ length: n + 1 }, (_, index) => (index - n / 2) * bin), top = Math.max(...other.ccg, 1);
      const drawing = svg(230, 110, `cross-correlogram of units ${unit.id} and ${other.id}`);
      const frame = axes(drawing, { width: 230, height: 110, x: [edges[0], edges.at(-1)], y: [0, top * 1.05], bottom: 20, left: 36,
        yTicks: ticks(0, top, 2, true), xTicks: [-20, -10, 0, 10, 20] });
      drawing.append(bars(frame, edges, other.ccg, "found"), element("path", { class: "zero", d: `M${frame.x(0)} ${frame.top}V${frame.base}` }));
      const kind = { "one neuron": "one", "two neurons": "two" }[other.verdict] || "open";
      part.append(element("div", { class: "likeness" }, drawing, element("div", {},
        element("p", {}, element("a", { href: `#unit-${other.id}` }, `Unit ${other.id}`), " ", element("span", { class: `badge ${kind}` }, other.verdict),
          ` similarity ${other.similarity.toFixed(2)}, ${number(other.distance_um)} um away`),
        element("ul", {}, ...other.reasons.map(([, words]) => element("li", {}, words))))));
    }
    part.append(element("p", { class: "note" }, "Lags (ms) by which the other unit's spikes come after this one's. Similarity: cosine of the templates at the best lag."));
  } });

  // ---- metrics ----

  const valueOf = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);

  sections.push({ name: "metrics", title: "Metrics among all units", wide: true, draw(unit, data, part) {
    const row = about().unit_ids.indexOf(unit.id);
    if (row < 0) return false;
    const body = element("tbody");
    for (const metric of about().metrics) {
      const own = valueOf(metric.values[row]);
      if (own === null) continue;
      const every = metric.values.map(valueOf).filter((value) => value !== null);
      const higher = every.filter((value) => value > own).length;
      const limits = [metric.low !== null ? `at least ${number(metric.low)}` : "", metric.high !== null ? `at most ${number(metric.high)}` : ""].filter(Boolean).join(", ");
      const missed = (metric.low !== null && own < metric.low) || (metric.high !== null && own > metric.high);
      body.append(element("tr", {}, element("th", { scope: "row" }, metric.label),
        element("td", { class: `number${missed ? " culprit" : ""}` }, number(metric.values[row])), element("td", {}, limits),
        element("td", { class: "number" }, `${number(higher + 1)} of ${number(every.length)}`), element("td", { class: "picture" }, strip(metric, every, own))));
    }
    part.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Metrics" }, element("table", { class: "plain ranks" },
      element("thead", {}, element("tr", {}, ...[["Metric", ""], ["Value", "number"], ["Asked for", ""], ["Rank", "number"], ["All units", ""]].map(([words, kind]) =>
        element("th", { scope: "col", class: kind || null }, words)))), body)));
    part.append(element("p", { class: "note" }, "Rank 1 is the highest value. Strip: every unit, this one as the tall line, thresholds dotted."));
  } });

  function strip(metric, every, own) {
    const finite = every.filter(Number.isFinite);
    const drawing = svg(150, 22, `${metric.label}: where the unit is among all`);
    const [low, high] = extent(finite);
    const log = low > 0 && high > 50 * low;
    const at = log ? Math.log10 : (value) => value;
    const x = (value) => 4 + (at(Math.min(Math.max(value, low), high)) - at(low)) / (at(high) - at(low) || 1) * 142;
    drawing.append(element("path", { class: "others", d: finite.map((value) => `M${x(value).toFixed(1)} 8v8`).join("") }));
    for (const limit of [metric.low, metric.high]) {
      if (limit !== null && limit >= low && limit <= high) drawing.append(element("path", { class: "threshold", d: `M${x(limit).toFixed(1)} 2v18` }));
    }
    drawing.append(element("path", { class: "own", d: `M${x(own).toFixed(1)} 1v20` }));
    return drawing;
  }
})();

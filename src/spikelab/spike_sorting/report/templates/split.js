"use strict";
// The dialog that splits a unit: by time, everywhere; served by `spikelab view` also by a line or a lasso through
// amplitudes or principal components. Which spikes a line divides, the server finds out over all of them.
(() => {
  const lab = window.spikelab;
  const dialog = document.getElementById("split-dialog");
  if (!lab?.split_by || !dialog) return;
  const form = dialog.querySelector("form");
  const canvas = dialog.querySelector("canvas");
  const said = dialog.querySelector(".said");
  const level = dialog.querySelector(".level");
  const edge = { left: 62, right: 12, top: 10, bottom: 40 };
  let unit = null;
  let cloud = null; // {x, y, labels, n_spikes, n_drawn, span}
  let points = [];
  const by = () => form.elements.by.value;

  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  // A few far values would press the others together: of a thousand, one at each end may lie on the edge.
  const range = (values, all) => {
    const sorted = Float32Array.from(values).sort();
    const cut = all ? 0 : Math.floor(sorted.length / 1000);
    const [low, high] = [sorted[cut], sorted[sorted.length - 1 - cut]];
    const room = (all ? 0.04 : 0.2) * (high - low) || 1;
    return [Math.max(low - room, sorted[0] - 0.04 * (high - low)), Math.min(high + room, sorted.at(-1) + 0.04 * (high - low))];
  };

  lab.split = (id) => {
    unit = id;
    points = [];
    cloud = null;
    form.elements.by.value = lab.live ? "amplitude" : "time";
    form.elements.unit.value = id;
    form.elements.at.value = "";
    form.elements.level.value = "";
    for (const element of dialog.querySelectorAll(".live")) element.hidden = !lab.live;
    dialog.showModal();
    return load();
  };

  async function load() {
    points = [];
    const wanted = `${unit} ${by()}`;
    level.hidden = by() !== "amplitude" || !lab.live;
    dialog.querySelector(".how").hidden = by() === "time" || !lab.live;
    dialog.querySelector(".time").hidden = by() !== "time";
    if (!lab.live) return tell();
    said.textContent = "Reading the spikes\u2026";
    try {
      let found;
      do {
        found = await lab.ask(`projection?unit=${unit}&by=${by() === "projection" ? "projection" : "amplitude"}`);
        if (found.wait) {
          said.textContent = found.note;
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
      } while (found.wait && dialog.open);
      if (wanted !== `${unit} ${by()}` || !dialog.open) return undefined;
      if (found.x === undefined) throw new Error(found.note);
      const [x, y] = [floats(found.x), floats(found.y)];
      cloud = { ...found, x, y, span: [range(x, by() !== "projection"), range(y, false)] };
      draw();
      tell();
    } catch (error) {
      cloud = null;
      draw();
      said.textContent = error.message;
    }
    return undefined;
  }

  const place = (x, y) => {
    const [[x0, x1], [y0, y1]] = cloud.span;
    return [
      edge.left + ((x - x0) / (x1 - x0)) * (canvas.width - edge.left - edge.right),
      canvas.height - edge.bottom - ((y - y0) / (y1 - y0)) * (canvas.height - edge.top - edge.bottom),
    ];
  };
  const value = (event) => {
    const box = canvas.getBoundingClientRect();
    const [[x0, x1], [y0, y1]] = cloud.span;
    const [left, top] = [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
    return [
      x0 + ((left - edge.left) / (canvas.width - edge.left - edge.right)) * (x1 - x0),
      y0 + ((canvas.height - edge.bottom - top) / (canvas.height - edge.top - edge.bottom)) * (y1 - y0),
    ];
  };

  // As the server decides: right of a line, inside of a lasso, from a time on.
  function second(x, y) {
    if (by() === "time") return form.elements.at.value !== "" && x >= Number(form.elements.at.value);
    if (points.length < 2) return false;
    if (points.length === 2) {
      const [[x0, y0], [x1, y1]] = points;
      return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) < 0;
    }
    let inside = false;
    points.forEach(([x0, y0], index) => {
      const [x1, y1] = points[(index + 1) % points.length];
      if (y0 !== y1 && y >= Math.min(y0, y1) && y < Math.max(y0, y1) && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) inside = !inside;
    });
    return inside;
  }

  const ticks = ([low, high]) => {
    const rough = (high - low) / 6;
    const unit_step = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit_step).find((size) => size >= rough);
    const found = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(Number(tick.toPrecision(10)));
    return found;
  };

  function draw() {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!cloud) return [0, 0];
    const style = getComputedStyle(document.documentElement);
    const colours = [style.getPropertyValue("--kept"), style.getPropertyValue("--failed")];
    const counts = [0, 0];
    const size = cloud.x.length > 5000 ? 1.5 : 2.5;
    for (const part of [0, 1]) {
      pen.fillStyle = colours[part];
      for (let i = 0; i < cloud.x.length; i += 1) {
        if (Number(second(cloud.x[i], cloud.y[i])) !== part) continue;
        let [left, top] = place(cloud.x[i], cloud.y[i]);
        left = Math.min(Math.max(left, edge.left), canvas.width - edge.right);
        top = Math.min(Math.max(top, edge.top), canvas.height - edge.bottom);
        pen.fillRect(left - size / 2, top - size / 2, size, size);
        counts[part] += 1;
      }
    }
    pen.strokeStyle = "#8a8a8a";
    pen.fillStyle = "#595959";
    pen.font = "12px system-ui, sans-serif";
    pen.beginPath();
    pen.moveTo(edge.left, edge.top);
    pen.lineTo(edge.left, canvas.height - edge.bottom);
    pen.lineTo(canvas.width - edge.right, canvas.height - edge.bottom);
    pen.stroke();
    pen.textAlign = "center";
    for (const tick of ticks(cloud.span[0])) pen.fillText(String(tick), place(tick, 0)[0], canvas.height - edge.bottom + 15);
    pen.fillText(cloud.labels[0], canvas.width / 2, canvas.height - 6);
    pen.textAlign = "right";
    for (const tick of ticks(cloud.span[1])) pen.fillText(String(tick), edge.left - 5, place(0, tick)[1] + 4);
    pen.save();
    pen.translate(12, canvas.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(cloud.labels[1], 0, 0);
    pen.restore();
    if (points.length > 1) {
      pen.strokeStyle = "#000";
      pen.lineWidth = 1.5;
      pen.beginPath();
      points.forEach((point) => pen.lineTo(...place(...point)));
      if (points.length > 2) pen.closePath();
      pen.stroke();
      pen.lineWidth = 1;
    }
    return counts;
  }

  // Between the first spike of the unit and its last, where these are known, else within the recording.
  function divides() {
    const [first, last] = lab.units.get(unit)?.data?.span_s || [0, lab.about ? lab.about.seconds : Infinity];
    return { first, last, inside: Number(form.elements.at.value) > first && Number(form.elements.at.value) <= last };
  }

  function tell() {
    const given = form.elements.at.value !== "";
    const { first: from, last: until, inside } = divides();
    const ready = by() === "time" ? given && inside : points.length > 1;
    form.elements.split.disabled = !ready;
    if (by() === "time" && given && !inside) {
      said.textContent = `Its spikes lie between ${from} and ${until} s: all of them would be on one side.`;
      return;
    }
    if (!cloud) {
      said.textContent = lab.live ? "" : "Served by 'spikelab view', units can also be split by a line through amplitudes or components.";
      return;
    }
    const [first, other] = draw();
    const thinned = cloud.n_drawn < cloud.n_spikes ? `${cloud.n_drawn} of ${cloud.n_spikes} spikes are drawn; all are divided. ` : `${cloud.n_spikes} spikes. `;
    said.textContent = thinned + (ready ? `Of those drawn ${first} stay in the first unit, ${other} go to the second.` : "");
  }

  // A press and a release far apart with little way between are a line; a way around is a lasso.
  let way = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!cloud) return;
    canvas.setPointerCapture(event.pointerId);
    if (by() === "time") {
      form.elements.at.value = Number(value(event)[0].toFixed(4));
      tell();
      return;
    }
    way = [[event.offsetX, event.offsetY]];
    points = [value(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!way) return;
    const [left, top] = way.at(-1);
    if (Math.hypot(event.offsetX - left, event.offsetY - top) < 4 || points.length > 2000) return;
    way.push([event.offsetX, event.offsetY]);
    points.push(value(event));
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (!way) return;
    const [first, last] = [way[0], way.at(-1)];
    const apart = Math.hypot(last[0] - first[0], last[1] - first[1]);
    const length = way.slice(1).reduce((sum, at, i) => sum + Math.hypot(at[0] - way[i][0], at[1] - way[i][1]), 0);
    if (length < 10) points = [];
    else if (length < 1.15 * apart) points = [points[0], points.at(-1)].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    way = null;
    form.elements.level.value = "";
    tell();
  });

  for (const radio of form.querySelectorAll('input[name="by"]')) radio.addEventListener("change", load);
  form.elements.at.addEventListener("input", tell);
  form.elements.level.addEventListener("input", () => {
    const at = form.elements.level.value;
    points = at === "" || !cloud ? [] : cloud.span[0].map((x) => [x, Number(at)]);
    tell();
  });
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value !== "split") return;
    if (by() === "time") lab.split_by({ unit, by: "time", at_s: Number(form.elements.at.value) });
    else lab.split_by({ unit, by: by(), points });
  });
})();

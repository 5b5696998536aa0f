"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const results = read("results"), pictures = read("pictures"), styles = read("styles");
  const byId = (id) => document.getElementById(id);
  const labels = Object.fromEntries(results.losses.map((loss) => [loss.key, loss.label]));
  const hidden = new Set();
  const SVG = "http://www.w3.org/2000/svg";

  function element(parent, name, attributes = {}, text = "") {
    const svg = parent.namespaceURI === SVG || name === "svg";
    const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return parent.appendChild(node);
  }

  function format(value) {
    if (value === null || value === undefined) return "–";
    const text = Number(value.toPrecision(4));
    return Math.abs(text) >= 1e-4 || text === 0 ? String(text) : text.toExponential();
  }
  const formatSeconds = (s) => s < 90 ? `${format(s)} s` : s < 5400 ? `${format(s / 60)} min` : `${format(s / 3600)} h`;
  const formatX = (x, axis) => axis === "nimg" ? `${format(x / 1000)} kimg` : formatSeconds(x);

  // "Nice" tick values: multiples of 1, 2 or 5 times a power of ten; for logarithmic axes those numbers themselves.
  function linearTicks(low, high, count) {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-9); i++) ticks.push(i * step);
    return ticks;
  }
  function logTicks(low, high) {
    const ticks = [], dense = high / low < 30;
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const m of dense ? [1, 1.5, 2, 3, 5, 7] : [1, 3]) if (m * 10 ** e >= low && m * 10 ** e <= high) ticks.push(m * 10 ** e);
    return ticks.length > 1 ? ticks : [low, high];
  }

  // ---- curves -------------------------------------------------------------------------------------------------
  const plot = byId("plot");
  const choice = { metric: Object.keys(results.metrics)[0], axis: "nimg", log: true, each: false };
  let marker = null;  // image count of the sample slider, shown as a line in the plot

  function seriesShown() {
    const curves = results.metrics[choice.metric].curves;
    return Object.keys(curves).filter((key) => !hidden.has(key)).map((key) => ({ key, ...curves[key], x: curves[key][choice.axis] }));
  }

  function drawPlot() {
    plot.replaceChildren();
    if (!choice.metric) { element(plot, "p", {}, "No metric has been computed yet."); return; }
    const better = results.metrics[choice.metric].better;
    const series = seriesShown();
    const width = Math.max(320, Math.min(1060, plot.clientWidth || 900)), height = width < 560 ? 300 : 430;
    const left = 58, right = 14, top = 12, bottom = 46;
    const svg = element(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0" });
    const summary = series.map((s) => `${labels[s.key]} ${format(s.mean.at(-1))}`).join(", ");
    svg.setAttribute("aria-label", `${choice.metric} (${better} is better) over the run; last mean values: ${summary || "no loss is shown"}`);
    if (!series.length) { element(svg, "text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No loss is switched on."); return; }

    const values = series.flatMap((s) => [...s.low, ...s.high]), xs = series.flatMap((s) => s.x);
    let low = Math.min(...values), high = Math.max(...values);
    const log = choice.log && low > 0;
    const pad = log ? (high / low || 1) ** 0.05 : (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    [low, high] = log ? [low / Math.max(pad, 1.01), high * Math.max(pad, 1.01)] : [low - pad, high + pad];
    const xLow = Math.min(...xs), xHigh = Math.max(...xs, xLow + 1e-9);
    const X = (x) => left + (x - xLow) / (xHigh - xLow) * (width - left - right);
    const scale = (y) => log ? (Math.log(y) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (y - low) / (high - low);
    const Y = (y) => height - bottom - scale(y) * (height - top - bottom);

    for (const y of log ? logTicks(low, high) : linearTicks(low, high, 6)) {
      element(svg, "line", { class: "gridline", x1: left, x2: width - right, y1: Y(y), y2: Y(y) });
      element(svg, "text", { x: left - 7, y: Y(y) + 4, "text-anchor": "end" }, format(y));
    }
    const unit = choice.axis === "nimg" ? 1000 : xHigh < 90 ? 1 : xHigh < 5400 ? 60 : 3600;
    for (const x of linearTicks(xLow / unit, xHigh / unit, width < 560 ? 4 : 8))
      element(svg, "text", { x: X(x * unit), y: height - bottom + 18, "text-anchor": "middle" }, format(x));
    const xTitle = choice.axis === "nimg" ? "thousand real images" : `training time in ${{ 1: "seconds", 60: "minutes", 3600: "hours" }[unit]}`;
    element(svg, "text", { class: "axis-title", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xTitle);
    element(svg, "text", { class: "axis-title", transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, `${choice.metric} (${better} is better)`);

    const path = (x, y) => x.map((v, i) => `${i ? "L" : "M"}${X(v).toFixed(1)} ${Y(y[i]).toFixed(1)}`).join("");
    for (const s of series) {
      const back = path([...s.x].reverse(), [...s.high].reverse()).replace("M", "L");
      element(svg, "path", { d: `${path(s.x, s.low)}${back}Z`, fill: `var(--loss-${styles[s.key].index})`, opacity: series.length <= 7 ? 0.14 : 0.03, "data-band": s.key });
    }
    for (const s of series) {
      const stroke = `var(--loss-${styles[s.key].index})`;
      if (choice.each)
        for (const run of Object.values(results.runs[s.key])) {
          const curve = run.curves[choice.metric];
          const kept = curve ? curve.value.map((v, i) => i).filter((i) => curve.value[i] !== null && curve.value[i] >= low && curve.value[i] <= high && curve[choice.axis][i] <= xHigh) : [];
          if (kept.length) element(svg, "path", { d: path(kept.map((i) => curve[choice.axis][i]), kept.map((i) => curve.value[i])), fill: "none", stroke, "stroke-width": 1, opacity: 0.6 });
        }
      element(svg, "path", { d: path(s.x, s.mean), fill: "none", stroke, "stroke-width": 2.4, "stroke-linejoin": "round", "stroke-dasharray": styles[s.key].dash.join(" "), "data-line": s.key });
      if (s.x.length === 1) element(svg, "circle", { cx: X(s.x[0]), cy: Y(s.mean[0]), r: 4, fill: stroke });
    }
    if (marker !== null && choice.axis === "nimg" && marker >= xLow && marker <= xHigh)
      element(svg, "line", { class: "cursor", x1: X(marker), x2: X(marker), y1: top, y2: height - bottom, opacity: 0.6 });
    addReading(svg, series, { X, Y, xLow, xHigh, width, height, left, right, top, bottom });
  }

  // The readout: a cursor that snaps to the nearest evaluation, moved by pointer or arrow keys.
  function addReading(svg, series, box) {
    const cursor = element(svg, "line", { class: "cursor", y1: box.top, y2: box.height - box.bottom, visibility: "hidden" });
    const dots = element(svg, "g");
    const tip = element(plot, "div", { class: "tip", hidden: "", role: "status" });
    const stops = [...new Set(series.flatMap((s) => s.x))].sort((a, b) => a - b);
    let at = -1;
    function show(index) {
      at = Math.max(0, Math.min(stops.length - 1, index));
      const x = stops[at];
      cursor.setAttribute("x1", box.X(x)); cursor.setAttribute("x2", box.X(x)); cursor.setAttribute("visibility", "visible");
      dots.replaceChildren(); tip.replaceChildren(); tip.hidden = false;
      tip.classList.toggle("many", series.length > 10);
      element(tip, "b", {}, formatX(x, choice.axis));
      for (const s of series) {
        const i = nearest(s.x, x);
        if (choice.axis === "nimg" && s.x[i] !== x) continue;
        element(dots, "circle", { cx: box.X(s.x[i]), cy: box.Y(s.mean[i]), r: 3.5, fill: `var(--loss-${styles[s.key].index})` });
        const row = element(tip, "div", { "data-loss": s.key, "data-mean": s.mean[i] });
        element(row, "i", { style: `background: var(--loss-${styles[s.key].index})` });
        const spread = s.n > 1 && series.length <= 10 ? ` (${format(s.low[i])} to ${format(s.high[i])})` : "";
        row.append(`${labels[s.key]} ${format(s.mean[i])}${spread}`);
      }
      const share = box.X(x) / box.width;
      tip.style.left = share < 0.5 ? `calc(${100 * share}% + 12px)` : "auto";
      tip.style.right = share < 0.5 ? "auto" : `calc(${100 - 100 * share}% + 12px)`;
    }
    function hide() { at = -1; cursor.setAttribute("visibility", "hidden"); dots.replaceChildren(); tip.hidden = true; }
    svg.addEventListener("pointermove", (event) => {
      const area = svg.getBoundingClientRect();
      const px = (event.clientX - area.left) / area.width * box.width;
      show(nearest(stops, box.xLow + (px - box.left) / (box.width - box.left - box.right) * (box.xHigh - box.xLow)));
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (move) { show(at < 0 ? 0 : at + move); event.preventDefault(); }
    });
  }
  function nearest(list, x) {
    let best = 0;
    list.forEach((v, i) => { if (Math.abs(v - x) < Math.abs(list[best] - x)) best = i; });
    return best;
  }

  function buildControls() {
    for (const metric of Object.keys(results.metrics)) element(byId("metric"), "option", { value: metric }, metric);
    byId("log").checked = choice.log;
    byId("metric").addEventListener("change", (e) => { choice.metric = e.target.value; drawPlot(); });
    byId("axis").addEventListener("change", (e) => { choice.axis = e.target.value; drawPlot(); });
    byId("log").addEventListener("change", (e) => { choice.log = e.target.checked; drawPlot(); });
    byId("each").addEventListener("change", (e) => { choice.each = e.target.checked; drawPlot(); });
    for (const loss of results.losses) {
      const button = element(byId("legend"), "button", { type: "button", "aria-pressed": "true", "data-loss": loss.key });
      const mark = element(button, "svg", { width: 26, height: 8, "aria-hidden": "true" });
      element(mark, "line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: `var(--loss-${styles[loss.key].index})`, "stroke-width": 3, "stroke-dasharray": styles[loss.key].dash.join(" ") });
      button.append(loss.label);
      button.addEventListener("click", () => {
        const off = !hidden.has(loss.key);
        if (off) hidden.add(loss.key); else hidden.delete(loss.key);
        button.setAttribute("aria-pressed", String(!off));
        drawPlot(); drawSamples();
      });
    }
  }

  // ---- samples ------------------------------------------------------------------------------------------------
  function drawSamples() {
    const panels = byId("panels");
    if (!pictures.nimg.length) return;
    const nimg = pictures.nimg[Number(byId("step").value)], seed = byId("seed").value;
    byId("count").textContent = `${format(nimg / 1000)} kimg`;
    byId("step").setAttribute("aria-valuetext", `${format(nimg / 1000)} thousand images`);
    panels.replaceChildren();
    for (const loss of results.losses) {
      if (hidden.has(loss.key)) continue;
      const figure = element(panels, "figure", { "data-loss": loss.key });
      const caption = element(figure, "figcaption");
      element(caption, "span", { class: "swatch", style: `background: var(--loss-${styles[loss.key].index})` });
      caption.append(loss.label);
      const uri = pictures.pictures[loss.key]?.[seed]?.[String(nimg)];
      if (uri) element(figure, "img", { src: uri, alt: `${pictures.columns * pictures.rows} samples of ${loss.label}, seed ${seed}, after ${format(nimg / 1000)} thousand images` });
      else element(figure, "div", { class: "missing" }, "no samples at this count");
    }
    marker = nimg;
  }

  function buildSamples() {
    const step = byId("step");
    if (!pictures.nimg.length) { byId("samples").hidden = true; return; }
    step.max = pictures.nimg.length - 1;
    step.value = step.max;
    for (const seed of pictures.seeds) element(byId("seed"), "option", { value: seed }, String(seed));
    step.addEventListener("input", () => { drawSamples(); drawPlot(); });
    byId("seed").addEventListener("change", drawSamples);
    drawSamples();
  }

  buildControls();
  buildSamples();
  drawPlot();
  let width = plot.clientWidth;
  new ResizeObserver(() => { if (plot.clientWidth !== width) { width = plot.clientWidth; drawPlot(); } }).observe(plot);
})();

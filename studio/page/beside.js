// Which networks are shown, a run's snapshots over time, and its curves.

import { byId, make, say, svg } from "./dom.js";

export class Beside {
  constructor(store) {
    this.store = store;
    this.catalogue = [];
    this.curves = [];
    byId("left").addEventListener("change", (e) => store.set({ left: e.target.value }));
    byId("right").addEventListener("change", (e) => store.set({ right: e.target.value }));
    byId("snapshot").addEventListener("input", (e) => this.goTo(Number(e.target.value)));
    byId("metric").addEventListener("change", () => this.plot());
  }

  source(key) { return this.catalogue.find((one) => one.key === key.slice(0, 1)); }

  // Another list of networks, or of snapshots: who looks at the newest is shown it.
  learn(catalogue) {
    const before = this.catalogue;
    this.catalogue = catalogue;
    const options = (none) => [
      ...(none ? [make("option", { value: "", textContent: "nothing" })] : []),
      ...catalogue.flatMap((one) => [
        make("option", { value: one.key, textContent: `${one.key}: ${one.title}${one.snapshots.length ? " (newest)" : ""}` }),
        ...one.snapshots.map((kimg) => make("option", { value: `${one.key}@${kimg}`, textContent: `${one.key}: after ${kimg} kimg` })),
      ])];
    byId("left").replaceChildren(...options(false));
    byId("right").replaceChildren(...options(true));
    this.loadCurves();
    if (this.store.state) {
      this.show(this.store.state);
      const changed = before.some((one) => String(one.snapshots) !== String(this.source(one.key)?.snapshots));
      if (changed) this.store.tell();
    }
  }

  // For two runs side by side, both go to the same time as far as they have it.
  goTo(index) {
    const { left, right } = this.store.state;
    const all = this.source(left).snapshots;
    const newest = index === all.length - 1;
    const kimg = all[index];
    const beside = right && this.source(right);
    const changes = { left: newest ? left[0] : `${left[0]}@${kimg}` };
    if (beside && beside.snapshots.length && beside.key !== left[0]) {
      const near = beside.snapshots.reduce((a, b) => (Math.abs(b - kimg) < Math.abs(a - kimg) ? b : a));
      changes.right = newest ? right[0] : `${right[0]}@${near}`;
    }
    this.store.set(changes);
  }

  show(state) {
    byId("left").value = state.left;
    byId("right").value = state.right;
    byId("right-figure").hidden = state.right === "";
    const source = this.source(state.left);
    const has = source !== undefined && source.snapshots.length > 0;
    byId("time").hidden = !has;
    if (has) {
      const kimg = Number(state.left.split("@")[1] ?? source.snapshots.at(-1));
      const at = Math.max(0, source.snapshots.indexOf(kimg));
      byId("snapshot").max = source.snapshots.length - 1;
      byId("snapshot").value = at;
      byId("snapshot").setAttribute("aria-valuetext", `after ${kimg} thousand images`);
      byId("snapshot-shown").textContent = `${kimg} kimg${source.run === "running" ? " (running)" : ""}`;
    }
    const drawn = [state.left, state.right].join(" ");
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.plot();
    }
  }

  async loadCurves() {
    if (!this.catalogue.some((one) => one.run)) return;
    const response = await fetch("/curves");
    this.curves = response.ok ? await response.json() : [];
    if (!response.ok) say((await response.text()).trim());
    const names = [...new Set(this.curves.map((curve) => curve.metric))];
    byId("curves").hidden = !names.length;
    const chosen = byId("metric").value;
    byId("metric").replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
    if (names.includes(chosen)) byId("metric").value = chosen;
    this.plot();
  }

  plot() {
    const state = this.store.state;
    const shown = state ? [state.left, state.right].filter(Boolean).map((key) => key[0]) : [];
    const curves = this.curves.filter((curve) => curve.metric === byId("metric").value && shown.includes(curve.key));
    const points = curves.flatMap((curve) => curve.points);
    if (!points.length) return byId("plot").replaceChildren();
    const [width, height, left, bottom] = [360, 170, 44, 26];
    const most = Math.max(...points.map((p) => p[0]), 1);
    const values = points.map((p) => p[1]);
    const [low, high] = [Math.min(...values, 0), Math.max(...values)];
    const x = (kimg) => left + (kimg / most) * (width - left - 8);
    const y = (value) => height - bottom - ((value - low) / (high - low || 1)) * (height - bottom - 10);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.inWords(curves) });
    for (const value of [low, (low + high) / 2, high]) {
      drawing.append(svg("line", { class: "grid", x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
      drawing.append(svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(3)).toString()));
    }
    for (const kimg of [0, most]) {
      drawing.append(svg("text", { x: x(kimg), y: height - 8, "text-anchor": kimg ? "end" : "start" }, `${Number(kimg.toPrecision(3))} kimg`));
    }
    for (const curve of curves) {
      const second = curve.key === shown[1] && shown[0] !== shown[1] ? " second" : "";
      const path = curve.points.map(([kimg, value], i) => `${i ? "L" : "M"}${x(kimg).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      drawing.append(svg("path", { class: `line${second}`, d: path }));
      for (const [kimg, value] of curve.points) {
        drawing.append(svg("circle", { class: `dot${second}`, cx: x(kimg), cy: y(value), r: 3 }, svg("title", {}, `${curve.key}, ${kimg} kimg: ${value}`)));
      }
    }
    const source = this.source(state.left);
    const now = Number(state.left.split("@")[1] ?? source?.snapshots.at(-1) ?? NaN);
    if (now <= most) drawing.append(svg("line", { class: "now", x1: x(now), x2: x(now), y1: 6, y2: height - bottom }));
    byId("plot").replaceChildren(drawing);
  }

  inWords(curves) {
    return curves.map((c) => `${c.metric} of ${c.key}: ${c.points.map(([kimg, v]) => `${v.toPrecision(4)} at ${kimg} kimg`).join(", ")}`).join("; ");
  }
}

// Directions: sixteen sliders of each kind with a zone each, a plane of two of them, and sets saved under a name.

import { byId, clamp, make, say } from "./dom.js";

const COUNT = 16;
const KINDS = { pca: "Component", sefa: "SeFa" };
const REACH = 4;
const SAVED = "studio-directions";

export class Directions {
  constructor(store) {
    this.store = store;
    this.zones = {}; // by kind and index, also while a slider is at 0
    this.layers = 8;
    byId("kind").addEventListener("change", () => this.build());
    byId("reset").addEventListener("click", () => store.set({ edits: [] }));
    byId("save-form").addEventListener("submit", (event) => this.save(event));
    this.buildPlane();
    this.build();
    this.listSaved();
  }

  setNetwork(about) {
    this.layers = about.layers;
    this.usable = Math.min(COUNT, about.w_dim);
    this.build();
    if (this.store.state) this.show(this.store.state);
  }

  zoneLayers(zone) {
    const n = this.layers;
    // The paper's zones (4 to 8, 16 to 32, 64 pixels and more) where there are enough layers, else thirds.
    const [a, b] = n >= 12 ? [4, 8] : [Math.ceil(n / 3), Math.ceil((2 * n) / 3)];
    const range = (from, to) => [...Array(Math.max(0, to - from)).keys()].map((i) => from + i);
    return { all: [], coarse: range(0, a), middle: range(a, b), fine: range(b, n) }[zone];
  }

  get(kind, index) { return this.store.state?.edits.find((e) => e.kind === kind && e.index === index); }

  set(moves) {
    const edits = this.store.state.edits.filter((e) => !moves.some(([kind, index]) => e.kind === kind && e.index === index));
    for (const [kind, index, strength] of moves) {
      if (strength) edits.push({ kind, index, strength, layers: this.chosenLayers(kind, index) });
    }
    edits.sort((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.index - b.index));
    this.store.set({ edits });
  }

  chosenLayers(kind, index) { return this.zones[`${kind}${index}`] ?? this.get(kind, index)?.layers ?? []; }

  build() {
    const kind = byId("kind").value;
    byId("sliders").replaceChildren(...[...Array(this.usable ?? COUNT).keys()].map((i) => this.slider(kind, i)));
    if (this.store.state) this.show(this.store.state);
  }

  slider(kind, index) {
    const id = `${kind}-${index}`;
    const zone = make("select", { id: `${id}-zone`, "aria-label": `Layers of ${KINDS[kind]} ${index}` },
      ...["all", "coarse", "middle", "fine", "layers"].map((name) => make("option", { value: name, textContent: name })));
    const text = make("input", { className: "layers", hidden: true, placeholder: "0-3,6", "aria-label": `Layers of ${KINDS[kind]} ${index}, as 0-3,6` });
    const choose = () => {
      text.hidden = zone.value !== "layers";
      const layers = zone.value === "layers" ? readLayers(text.value, this.layers) : this.zoneLayers(zone.value);
      if (layers === null) return;
      this.zones[`${kind}${index}`] = layers;
      const edit = this.get(kind, index);
      if (edit) this.set([[kind, index, edit.strength]]);
    };
    zone.addEventListener("change", choose);
    text.addEventListener("change", choose);
    return make("div", { className: "direction" },
      make("label", { htmlFor: id, textContent: index, "aria-label": `${KINDS[kind]} ${index}` }),
      make("input", { id, type: "range", min: -REACH, max: REACH, step: 0.05, value: 0,
        oninput: (e) => this.set([[kind, index, Number(e.target.value)]]), ondblclick: () => this.set([[kind, index, 0]]) }),
      make("output", { htmlFor: id, textContent: "0" }), zone, text);
  }

  show(state) {
    const kind = byId("kind").value;
    document.querySelectorAll("#sliders .direction").forEach((row, index) => {
      const edit = state.edits.find((e) => e.kind === kind && e.index === index);
      const [, slider, output, zone, text] = row.children;
      if (document.activeElement !== slider || !edit) slider.value = edit?.strength ?? 0;
      output.textContent = edit ? edit.strength.toFixed(2) : "0";
      if (!edit || document.activeElement === text) return;
      const same = ["all", "coarse", "middle", "fine"].find((name) => String(this.zoneLayers(name)) === String(edit.layers));
      zone.value = same ?? "layers";
      text.hidden = same !== undefined;
      if (!same) text.value = edit.layers.join(",");
    });
    const [x, y] = this.axes().map(([k, i]) => this.get(k, i)?.strength ?? 0);
    byId("point").style.left = `${50 + (50 * clamp(x, -REACH, REACH)) / REACH}%`;
    byId("point").style.top = `${50 - (50 * clamp(y, -REACH, REACH)) / REACH}%`;
    byId("plane").setAttribute("aria-label", `Plane of two directions: across ${x.toFixed(2)}, up ${y.toFixed(2)}; the arrow keys move the point`);
  }

  axes() {
    return ["axis-x", "axis-y"].map((id) => {
      const [kind, index] = byId(id).value.split(" ");
      return [kind, Number(index)];
    });
  }

  buildPlane() {
    for (const [id, chosen] of [["axis-x", "pca 0"], ["axis-y", "pca 1"]]) {
      for (const kind of Object.keys(KINDS)) {
        for (let i = 0; i < COUNT; i++) byId(id).append(make("option", { value: `${kind} ${i}`, textContent: `${KINDS[kind]} ${i}` }));
      }
      byId(id).value = chosen;
      byId(id).addEventListener("change", () => this.show(this.store.state));
    }
    const plane = byId("plane");
    const move = (event) => {
      const box = plane.getBoundingClientRect();
      const x = clamp(((event.clientX - box.left) / box.width) * 2 - 1, -1, 1) * REACH;
      const y = clamp(1 - ((event.clientY - box.top) / box.height) * 2, -1, 1) * REACH;
      this.moveTo(x, y);
    };
    plane.addEventListener("pointerdown", (event) => { plane.setPointerCapture(event.pointerId); move(event); });
    plane.addEventListener("pointermove", (event) => { if (plane.hasPointerCapture(event.pointerId)) move(event); });
    plane.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = this.axes().map(([k, i]) => this.get(k, i)?.strength ?? 0);
      this.moveTo(clamp(x + step[0] * 0.2, -REACH, REACH), clamp(y + step[1] * 0.2, -REACH, REACH));
    });
  }

  moveTo(x, y) {
    const [[kx, ix], [ky, iy]] = this.axes();
    const round = (v) => Math.round(v * 100) / 100;
    this.set(kx === ky && ix === iy ? [[kx, ix, round(x)]] : [[kx, ix, round(x)], [ky, iy, round(y)]]);
  }

  saved() {
    try {
      const found = JSON.parse(localStorage.getItem(SAVED) ?? "{}");
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  }

  save(event) {
    event.preventDefault();
    const name = byId("edit-name").value.trim();
    if (!name || !this.store.state.edits.length) return say(name ? "move a slider first" : "give a name to save the sliders under");
    localStorage.setItem(SAVED, JSON.stringify({ ...this.saved(), [name]: this.store.state.edits }));
    byId("edit-name").value = "";
    say(`saved as ${name} in this browser`);
    this.listSaved();
  }

  listSaved() {
    const found = this.saved();
    byId("saved").replaceChildren(...Object.keys(found).map((name) => make("li", {},
      make("button", { textContent: name, title: "Use", onclick: () => this.store.set({ edits: found[name] }) }),
      make("button", { textContent: "\u00d7", "aria-label": `Forget ${name}`, onclick: () => {
        delete found[name];
        localStorage.setItem(SAVED, JSON.stringify(found));
        this.listSaved();
      } }))));
  }
}

function readLayers(text, count) {
  if (!/^\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*$/.test(text.replaceAll(" ", ""))) return null;
  const layers = new Set();
  for (const part of text.replaceAll(" ", "").split(",")) {
    const [first, last = first] = part.split("-").map(Number);
    for (let i = first; i <= Math.min(last, count - 1); i++) layers.add(i);
  }
  return layers.size ? [...layers].sort((a, b) => a - b) : null;
}

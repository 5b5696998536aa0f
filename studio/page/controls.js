// Seed, truncation, noise, classes and style mixing.

import { byId, make, whole } from "./dom.js";

const FEW_CLASSES = 12;

export function bindControls(store) {
  const on = (id, event, change) => byId(id).addEventListener(event, () => store.set(change(byId(id))));
  const random = () => ({ seed: Math.floor(Math.random() * 2 ** 32), photo: "" });
  on("seed", "input", (e) => ({ seed: whole(e), photo: "" }));
  on("seed-before", "click", () => seedStep(store, -1));
  on("seed-next", "click", () => seedStep(store, 1));
  on("seed-random", "click", random);
  on("psi", "input", (e) => ({ psi: Number(e.value) }));
  on("cutoff", "input", (e) => ({ cutoff: e.value === e.max ? null : Number(e.value) }));
  on("noise", "change", (e) => ({ noise: e.value, noise_seed: 0 }));
  on("noise-seed", "input", (e) => ({ noise_seed: whole(e) }));
  on("mix-on", "change", (e) => (e.checked ? { mix: whole(byId("mix")) } : { mix: null, mix_layers: [] }));
  on("mix", "input", (e) => ({ mix: whole(e) }));
  on("mix-next", "click", () => ({ mix: Math.min(4294967295, whole(byId("mix")) + 1) }));
  on("photo-leave", "click", () => ({ photo: "" }));
  byId("seed").addEventListener("change", () => { byId("seed").value = store.state.seed; });
  return { random };
}

export function seedStep(store, step) {
  return { seed: (store.state.seed + step + 2 ** 32) % 2 ** 32, photo: "" };
}

export function showControls(state, about) {
  const put = (id, value) => { if (document.activeElement !== byId(id)) byId(id).value = value; };
  put("seed", state.seed);
  put("psi", state.psi);
  byId("psi-shown").textContent = state.psi.toFixed(2);
  byId("psi").disabled = byId("cutoff").disabled = state.photo !== "";
  if (about) byId("cutoff").max = about.layers;
  const all = state.cutoff === null || (about && state.cutoff >= about.layers);
  put("cutoff", all ? byId("cutoff").max : state.cutoff);
  byId("cutoff-shown").textContent = all ? "all layers" : `${state.cutoff} layer${state.cutoff === 1 ? "" : "s"}`;
  put("noise", state.noise);
  put("noise-seed", state.noise_seed);
  byId("noise-seed-row").hidden = state.noise !== "random";
  byId("mix-on").checked = state.mix !== null;
  byId("mix-on").disabled = state.photo !== "";
  if (state.mix !== null) put("mix", state.mix);
  byId("photo-row").hidden = state.photo === "";
  byId("photo-file").href = `/photo/${state.photo}.npz`;
}

// The controls that depend on the network: a slider for each of few classes, else a list; a button for each layer.
export function buildForNetwork(store, about) {
  const box = byId("classes");
  box.hidden = !about.classes;
  const names = [...Array(about.classes).keys()].map((i) => about.class_names[i] ?? String(i));
  const alone = about.classes === 1; // a continuous label, which is no share of anything
  if (about.classes > FEW_CLASSES) {
    const select = make("select", { id: "class", onchange: () => store.set({ label: select.value, vector: [] }) });
    select.append(...names.map((name, i) => make("option", { value: i, textContent: name })));
    box.replaceChildren(make("div", { className: "row" }, make("label", { htmlFor: "class", textContent: "Class" }), select));
  } else {
    box.replaceChildren(...names.map((name, i) => make("div", { className: "weight" },
      make("label", { htmlFor: `class-${i}`, textContent: name }),
      make("input", { id: `class-${i}`, type: "range", min: 0, max: 1, step: 0.01, value: 0, className: "class", oninput: () => store.set(labels()) }),
      make("output", { id: `class-${i}-shown`, htmlFor: `class-${i}` }))),
    make("label", { hidden: alone }, make("input", { id: "as-it-is", type: "checkbox", checked: alone, onchange: () => store.set(labels()) }), " several at once, not as shares"));
  }
  const layers = byId("mix-layers");
  layers.replaceChildren(layers.firstElementChild, ...[...Array(about.layers).keys()].map((i) => make("button", {
    type: "button", textContent: i, "aria-label": `Layer ${i}`, "aria-pressed": "false", "data-layer": i,
    onclick: (event) => toggleLayer(store, event.currentTarget),
  })));
}

function labels() {
  const weights = [...document.querySelectorAll("#classes .class")].map((e) => Number(e.value));
  return byId("as-it-is").checked ? { label: "", vector: weights } : { label: mixture(weights), vector: [] };
}

function mixture(weights) {
  const used = weights.map((w, i) => [i, w]).filter(([, w]) => w > 0);
  if (!used.length) return "0";
  return used.length === 1 ? String(used[0][0]) : used.map(([i, w]) => `${i}=${w}`).join(",");
}

function toggleLayer(store, button) {
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  const pressed = [...document.querySelectorAll("#mix-layers [aria-pressed=true]")].map((e) => Number(e.dataset.layer));
  store.set(pressed.length ? { mix: store.state.mix ?? whole(byId("mix")), mix_layers: pressed } : { mix: null, mix_layers: [] });
}

// What the server made of the label and the layers.
export function showAnswer(words, state) {
  const raw = state.vector.length > 0;
  if (byId("as-it-is") && !byId("as-it-is").parentElement.hidden) byId("as-it-is").checked = raw;
  const sliders = document.querySelectorAll("#classes .class");
  const largest = Math.max(...(words.weights ?? []), 1e-9);
  (words.weights ?? []).forEach((weight, i) => {
    if (sliders[i]) {
      if (document.activeElement !== sliders[i]) sliders[i].value = raw ? weight : weight / largest;
      byId(`class-${i}-shown`).textContent = raw ? weight.toFixed(2) : `${Math.round(100 * weight)} %`;
    }
  });
  if (byId("class") && words.weights) byId("class").value = words.weights.indexOf(largest);
  for (const button of document.querySelectorAll("#mix-layers button")) {
    button.setAttribute("aria-pressed", (words.mix_layers ?? []).includes(Number(button.dataset.layer)));
  }
}

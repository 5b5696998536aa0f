// The page: every control changes the one state, every change asks the server for its picture.

import { Beside } from "./beside.js";
import { Connection } from "./connection.js";
import { bindControls, buildForNetwork, seedStep, showAnswer, showControls } from "./controls.js";
import { Directions } from "./directions.js";
import { byId, say } from "./dom.js";
import { Frames } from "./frames.js";
import { Photo } from "./photo.js";
import { show } from "./picture.js";
import { Share } from "./share.js";
import { Store } from "./store.js";

const store = new Store();
const about = { left: null, right: null };
const pending = new Map(); // what to do with the answer to a question, by its number

const ask = (question, then) => {
  const number = connection.ask(question);
  byId("stage").setAttribute("aria-busy", "true");
  if (then) pending.set(number, () => then(question));
  return number;
};

const { random } = bindControls(store);
const directions = new Directions(store);
const frames = new Frames(store, ask);
const photo = new Photo(store);
const beside = new Beside(store);
const share = new Share(store, ask, frames);

let keysShown = "";
store.listen((state, keys) => {
  showControls(state, about.left);
  directions.show(state);
  beside.show(state);
  const text = JSON.stringify(keys);
  if (text !== keysShown) frames.show(keys);
  keysShown = text;
  byId("undo").disabled = !store.past.length;
  byId("redo").disabled = !store.future.length;
});

let asked = "";
let kept = []; // notes that stay until something is changed
store.listen((state, keys) => {
  const text = JSON.stringify([state, keys, beside.catalogue]);
  if (text === asked || frames.playing) return;
  asked = text;
  kept = [];
  ask({ state, keys });
});

const connection = new Connection({
  open() {
    byId("link").dataset.state = "open";
    byId("link").textContent = "connected";
    if (store.state) ask({ state: store.state, keys: store.keys });
    else ask(firstQuestion());
  },
  closed() {
    byId("link").dataset.state = "closed";
    byId("link").textContent = "connection lost; trying again";
    frames.arrived();
  },
  words: hear,
  picture(which, number, blob) {
    const image = byId(["left", "right"].includes(which) ? `${which}-picture` : which);
    show(image, blob, about[which], () => {
      if (which === "left" && number === connection.number) byId("stage").setAttribute("aria-busy", "false");
    });
    if (which === "left" && frames.playing) frames.arrived();
  },
});

function firstQuestion() {
  const pairs = new URLSearchParams(location.search);
  const keys = pairs.getAll("key");
  pairs.delete("key");
  pairs.delete("token");
  return { query: pairs.toString(), keys };
}

function hear(words) {
  if (words.job === "projection") return photo.job(words);
  if (words.job === "film") return frames.job(words);
  if (words.catalogue) {
    byId("film-mp4").disabled = !words.mp4;
    byId("film-mp4").title = words.mp4 ? "" : "needs ffmpeg: pip install imageio-ffmpeg";
    return beside.learn(words.catalogue);
  }
  if (words.network) return learnNetwork(words.network, words.about);
  if (words.error) {
    if ((words.n ?? connection.number) === connection.number) byId("stage").setAttribute("aria-busy", "false");
    if (frames.playing) frames.toggle();
    showNotes([words.error]);
    if (!store.state) { // an address that nobody can read: from the beginning, and that is said
      kept = [words.error];
      ask({ query: "", keys: [] });
    }
    return;
  }
  if (words.frame !== undefined) return;
  if (words.state) {
    asked = JSON.stringify([words.state, words.keys, beside.catalogue]);
    store.begin(words.state, words.keys);
  }
  pending.get(words.n)?.();
  for (const number of pending.keys()) if (number <= words.n) pending.delete(number);
  showNotes([...kept, ...(words.notes ?? [])]);
  frames.learn(words.keys, words.key_queries);
  share.show(words);
  showAnswer(words, store.state);
  byId("left-picture").alt = words.alt;
  byId("right-picture").alt = `Beside it, with the same state: ${store.state.right}`;
}

function learnNetwork(side, network) {
  const before = about[side];
  about[side] = network;
  const title = beside.source(network.key)?.title ?? "";
  const time = network.kimg === null ? network.file : `${title}, ${network.kimg} kimg`;
  byId(`${side}-caption`).textContent = `${network.key[0]}: ${time}`;
  if (side !== "left") return;
  byId("left-picture").parentElement.title = `${network.width} x ${network.height} pixels, ${network.layers} layers`;
  const same = ["layers", "classes", "w_dim", "class_names"].every((name) => String(before?.[name]) === String(network[name]));
  if (same) return;
  buildForNetwork(store, network);
  directions.setNetwork(network);
  if (store.state) showControls(store.state, network);
}

function showNotes(lines) {
  const items = [...byId("notes").children].map((item) => item.textContent);
  if (String(items) === String(lines)) return;
  byId("notes").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

byId("undo").addEventListener("click", () => store.undo());
byId("redo").addEventListener("click", () => store.redo());

document.addEventListener("keydown", (event) => {
  const control = event.target.closest("input, select, textarea, button, a, summary, [contenteditable], #plane");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    if (control?.matches("input:not([type=range], [type=checkbox]), textarea")) return;
    event.preventDefault();
    return event.shiftKey ? store.redo() : store.undo();
  }
  if (control || event.ctrlKey || event.metaKey || event.altKey || !store.state) return;
  const act = {
    ArrowLeft: () => store.set(seedStep(store, -1)),
    ArrowRight: () => store.set(seedStep(store, 1)),
    r: () => store.set(random()),
    k: () => frames.add(),
    " ": () => frames.toggle(),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const theme = localStorage.getItem("studio-theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
byId("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("studio-theme", dark ? "light" : "dark");
});

function setPixels(sharp) {
  document.documentElement.dataset.pixels = sharp ? "sharp" : "smooth";
  byId("pixels").setAttribute("aria-pressed", sharp);
  localStorage.setItem("studio-pixels", sharp ? "sharp" : "smooth");
}
setPixels(localStorage.getItem("studio-pixels") === "sharp");
byId("pixels").addEventListener("click", () => setPixels(byId("pixels").getAttribute("aria-pressed") !== "true"));

window.addEventListener("unhandledrejection", (event) => say(`something went wrong in the page: ${event.reason}`));

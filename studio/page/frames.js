// Key frames: added, ordered, played here, and made into a film.

import { byId, make, post, say, whole } from "./dom.js";

export class Frames {
  // `ask(question)` asks the server for a picture.
  constructor(store, ask) {
    this.store = store;
    this.ask = ask;
    this.playing = false;
    this.query = "";
    this.number = 0;
    byId("key-add").addEventListener("click", () => this.add());
    byId("play").addEventListener("click", () => this.toggle());
    for (const id of ["film-mp4", "film-gif"]) byId(id).addEventListener("click", (e) => this.makeFilm(e.currentTarget.dataset.suffix));
    byId("film-stop").addEventListener("click", () => post("/stop/film"));
  }

  motion() { return { frames: Math.max(1, whole(byId("frames"), 600)), loop: byId("loop").checked }; }

  states() { return this.store.keys.map((key) => key.state); }

  add() {
    if (this.store.keys.length >= 32) return say("32 key frames are the most");
    this.store.setKeys([...this.store.keys, { state: this.store.state, query: this.query }]);
  }

  show(keys) {
    byId("keys").replaceChildren(...keys.map((key, i) => {
      const move = (to) => () => {
        const some = [...keys];
        some.splice(to, 0, ...some.splice(i, 1));
        this.store.setKeys(some);
        byId("keys").children[to]?.querySelector("button")?.focus();
      };
      const item = make("li", { draggable: true },
        make("img", { src: `/image.png?${key.query}`, alt: `Key frame ${i + 1}`, loading: "lazy", onclick: () => this.store.set(key.state) }),
        make("div", {},
          make("button", { textContent: "\u25c0", "aria-label": `Key frame ${i + 1} earlier`, disabled: i === 0, onclick: move(i - 1) }),
          make("button", { textContent: "\u00d7", "aria-label": `Remove key frame ${i + 1}`, onclick: () => this.store.setKeys(keys.filter((_, j) => j !== i)) }),
          make("button", { textContent: "\u25b6", "aria-label": `Key frame ${i + 1} later`, disabled: i === keys.length - 1, onclick: move(i + 1) })));
      item.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", `key ${i}`));
      item.addEventListener("dragover", (event) => event.preventDefault());
      item.addEventListener("drop", (event) => {
        const from = /^key (\d+)$/.exec(event.dataTransfer.getData("text/plain"));
        if (!from) return;
        event.preventDefault();
        event.stopPropagation();
        const some = [...keys];
        some.splice(i, 0, ...some.splice(Number(from[1]), 1));
        this.store.setKeys(some);
      });
      return item;
    }));
  }

  toggle() {
    if (!this.playing && this.store.keys.length < 2) return say("add two key frames first, then they are played");
    this.playing = !this.playing;
    byId("play").textContent = this.playing ? "Stop" : "Play";
    byId("play").setAttribute("aria-pressed", this.playing);
    if (this.playing) {
      this.start = performance.now();
      this.next();
    } else {
      this.store.tell();
    }
  }

  // Ask for the frame whose time has come: a slow machine shows fewer, at the same speed.
  next() {
    if (!this.playing) return;
    const keys = this.states();
    if (keys.length < 2) return this.toggle();
    const motion = this.motion();
    const count = motion.loop ? keys.length * motion.frames : (keys.length - 1) * motion.frames + 1;
    const frame = Math.floor(((performance.now() - this.start) / 1000) * Math.max(1, whole(byId("fps"), 120)));
    if (!motion.loop && frame >= count) return this.toggle();
    this.ask({ state: this.store.state, keys, motion, frame: frame % count });
  }

  arrived() { if (this.playing) requestAnimationFrame(() => this.next()); }

  async makeFilm(suffix) {
    const body = JSON.stringify({ state: this.store.state, keys: this.states(), motion: this.motion(), suffix, fps: Math.max(1, whole(byId("fps"), 120)) });
    const begun = await post("/film", body);
    if (begun) this.number = begun.number;
  }

  job(words) {
    const running = words.state === "running";
    byId("film-progress").hidden = byId("film-stop").hidden = !running;
    byId("film-mp4").disabled = byId("film-gif").disabled = running;
    if (running) {
      byId("film-file").hidden = true;
      byId("film-progress").max = words.total;
      byId("film-progress").value = words.step;
    } else if (words.state === "done") {
      byId("film-file").hidden = false;
      byId("film-file").href = `/film/${words.file}`;
      byId("film-file").textContent = `Save film (${Math.ceil(words.bytes / 1024)} kB)`;
      say("the film is ready");
    } else {
      say(words.error ?? "the film was cancelled");
    }
  }
}

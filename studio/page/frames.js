// Key frames: added, ordered, played here, and made into a film.

import { byId, make, post, say, whole } from "./dom.js";

export class Frames {
  // `ask(question)` asks the server for a picture.
  constructor(store, ask) {
    this.store = store;
    this.ask = ask;
    this.playing = false;
    this.queries = new Map(); // addresses by key frame
    this.number = 0;
    byId("key-add").addEventListener("click", () => this.add());
    byId("play").addEventListener("click", () => this.toggle());
    for (const id of ["film-mp4", "film-gif"]) byId(id).addEventListener("click", (e) => this.makeFilm(e.currentTarget.dataset.suffix));
    byId("film-stop").addEventListener("click", () => post("/stop/film"));
  }

  motion() { return { frames: Math.max(1, whole(byId("frames"), 600)), loop: byId("loop").checked }; }

  // The addresses of key frames, from an answer.
  learn(keys, queries) {
    const fresh = keys.some((key) => this.query(key) === undefined);
    keys.forEach((key, i) => this.queries.set(JSON.stringify(key), queries[i]));
    if (fresh) this.show(this.store.keys);
  }

  query(key) { return this.queries.get(JSON.stringify(key)); }

  add() {
    if (this.store.keys.length >= 32) return say("32 key frames are the most");
    this.store.setKeys([...this.store.keys, this.store.state]);
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
        make("img", { alt: `Key frame ${i + 1}: seed ${key.seed}`, title: "Show it", onclick: () => this.store.set(key) }),
        make("div", {},
          make("button", { textContent: "\u25c0", "aria-label": `Key frame ${i + 1} earlier`, disabled: i === 0, onclick: move(i - 1) }),
          make("button", { textContent: "\u00d7", "aria-label": `Remove key frame ${i + 1}`, onclick: () => this.store.setKeys(keys.filter((_, j) => j !== i)) }),
          make("button", { textContent: "\u25b6", "aria-label": `Key frame ${i + 1} later`, disabled: i === keys.length - 1, onclick: move(i + 1) })));
      if (this.query(key) !== undefined) item.firstElementChild.src = `/image.png?${this.query(key)}`;
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
    const { keys } = this.store;
    if (keys.length < 2) return this.toggle();
    const motion = this.motion();
    const count = motion.loop ? keys.length * motion.frames : (keys.length - 1) * motion.frames + 1;
    const frame = Math.floor(((performance.now() - this.start) / 1000) * Math.max(1, whole(byId("fps"), 120)));
    if (!motion.loop && frame >= count) return this.toggle();
    this.ask({ state: this.store.state, keys, motion, frame: frame % count });
  }

  arrived() { if (this.playing) requestAnimationFrame(() => this.next()); }

  async makeFilm(suffix) {
    const body = JSON.stringify({ state: this.store.state, keys: this.store.keys, motion: this.motion(), suffix, fps: Math.max(1, whole(byId("fps"), 120)) });
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

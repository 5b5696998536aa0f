// The state to take away: link, command, preset, picture.

import { byId, save, say } from "./dom.js";

export class Share {
  // `ask(question)` asks the server; `store` holds the state; `frames` knows the addresses of key frames.
  constructor(store, ask, frames) {
    this.frames = frames;
    this.store = store;
    this.address = "";
    this.timer = 0;
    byId("copy-link").addEventListener("click", () => this.copy(location.origin + this.address, "the link"));
    byId("copy-command").addEventListener("click", () => this.copy(byId("command").textContent, "the command"));
    byId("save-preset").addEventListener("click", () => {
      const text = JSON.stringify({ studio: 1, state: { ...store.state, of: this.of }, keys: store.keys }, null, 2);
      save(new Blob([`${text}\n`], { type: "application/json" }), "studio-preset.json");
    });
    byId("open-preset").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (!file) return;
      try {
        if (file.size > 1e6) throw new Error("too large");
        const preset = JSON.parse(await file.text());
        if (preset.studio !== 1 || typeof preset.state !== "object") throw new Error("no preset");
        ask({ state: preset.state, keys: preset.keys ?? [] }, (asked) => store.begin({ ...store.state, vector: [], ...asked.state }, asked.keys));
      } catch {
        say(`${file.name} is no preset of the studio`);
      }
    });
  }

  // What the server wrote for the present state.
  show(words) {
    this.of = new URLSearchParams(words.query).get("of") ?? "";
    byId("command").textContent = words.command;
    byId("download").href = `/image.png?${words.query}`;
    const keys = this.store.keys.map((key) => `key=${encodeURIComponent(this.frames.query(key) ?? "")}`);
    const query = [words.query, ...keys].filter(Boolean).join("&");
    this.address = query ? `/?${query}` : "/";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => history.replaceState(null, "", this.address), 300);
  }

  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      say(`${what} is copied`);
    } catch {
      say(`${what} could not be copied here: ${text}`);
    }
  }
}

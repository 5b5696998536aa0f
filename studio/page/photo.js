// A photograph: chosen or dropped, projected with a preview, stopped, shown.

import { byId, post, say, whole } from "./dom.js";

export class Photo {
  constructor(store) {
    this.store = store;
    this.number = 0;
    byId("photo").addEventListener("change", (event) => {
      if (event.target.files.length) this.send(event.target.files[0]);
      event.target.value = "";
    });
    byId("projection-stop").addEventListener("click", () => post("/stop/projection"));
    const stage = byId("pictures");
    const files = (event) => [...event.dataTransfer.types].includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      stage.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) stage.classList.remove("dropping"); });
    document.addEventListener("drop", (event) => {
      stage.classList.remove("dropping");
      if (!files(event) || !event.dataTransfer.files.length) return;
      event.preventDefault();
      this.send(event.dataTransfer.files[0]);
    });
  }

  async send(file) {
    const { left, label, vector } = this.store.state;
    const about = new URLSearchParams({ left, label, vector: vector.join(","), space: byId("space").value, steps: Math.max(1, whole(byId("steps"), 5000)) });
    if (byId("align").checked) about.set("align", "1");
    const begun = await post(`/photo?${about}`, file);
    if (begun?.photo) this.store.set({ photo: begun.photo, mix: null, mix_layers: [] });
    else if (begun) this.number = begun.number;
  }

  job(words) {
    const running = words.state === "running";
    byId("projection").hidden = false;
    byId("projection").closest("details").open = true;
    byId("projection-stop").hidden = byId("projection-progress").hidden = !running;
    if (running) {
      byId("projection-progress").max = words.total;
      byId("projection-progress").value = words.step;
      byId("projection-said").textContent = words.distance === undefined ? "looking at the network" : `step ${words.step}, distance ${words.distance.toPrecision(3)}`;
    } else if (words.state === "done") {
      byId("projection-said").textContent = `distance ${words.distance.toPrecision(3)}, PSNR ${words.psnr.toFixed(1)} dB`;
      if (words.number === this.number) this.store.set({ photo: words.photo, mix: null, mix_layers: [] });
    } else {
      byId("projection-said").textContent = "";
      say(words.error ?? "the projection was stopped");
    }
  }
}

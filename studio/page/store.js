// The one state (and the key frames), who wants to know of changes, and what can be undone.

const LONGEST = 200;
const SETTLED = 350; // ms without a change make a step that can be undone

export class Store {
  constructor() {
    this.state = null;
    this.keys = []; // states
    this.past = [];
    this.future = [];
    this.listeners = [];
    this.settled = null;
    this.timer = 0;
  }

  listen(listener) { this.listeners.push(listener); }

  tell() { for (const listener of this.listeners) listener(this.state, this.keys); }

  // The state from an address or a preset: the first step.
  begin(state, keys) {
    const first = this.state === null;
    this.state = state;
    this.keys = keys;
    if (first) this.settled = this.now();
    else this.settleSoon();
    this.tell();
  }

  set(changes) {
    this.state = { ...this.state, of: "", ...changes };
    this.settleSoon();
    this.tell();
  }

  setKeys(keys) {
    this.keys = keys;
    this.settleSoon();
    this.tell();
  }

  now() { return JSON.stringify({ state: this.state, keys: this.keys }); }

  settleSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), SETTLED);
  }

  settle() {
    clearTimeout(this.timer);
    const now = this.now();
    if (this.settled === null || now === this.settled) return;
    this.past.push(this.settled);
    if (this.past.length > LONGEST) this.past.shift();
    this.future = [];
    this.settled = now;
    this.tell();
  }

  undo() { this.step(this.past, this.future); }

  redo() { this.step(this.future, this.past); }

  step(from, to) {
    this.settle();
    if (!from.length) return;
    to.push(this.settled);
    this.settled = from.pop();
    Object.assign(this, JSON.parse(this.settled));
    this.tell();
  }
}

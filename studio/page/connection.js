// The socket: questions with growing numbers, answers of which only the newest count, and coming back when it was lost.

const PICTURES = ["left", "right", "preview", "target"];

export class Connection {
  // `on` has: open(), closed(), words(object), picture(which, number, blob)
  constructor(on) {
    this.on = on;
    this.number = 0;
    this.shown = {};
    this.delay = 250;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("open", () => {
      this.delay = 250;
      this.on.open();
    });
    this.socket.addEventListener("message", (event) => this.receive(event.data));
    this.socket.addEventListener("close", () => {
      this.on.closed();
      setTimeout(() => this.open(), this.delay);
      this.delay = Math.min(4000, this.delay * 2);
    });
  }

  receive(data) {
    if (typeof data === "string") {
      const words = JSON.parse(data);
      if (words.n === undefined || words.n >= (this.shown.words ?? 0)) {
        if (words.n !== undefined) this.shown.words = words.n;
        this.on.words(words);
      }
      return;
    }
    const head = new DataView(data);
    const number = head.getUint32(0);
    const which = PICTURES[head.getUint8(4)];
    const isAnswer = which === "left" || which === "right";
    if (isAnswer && number < (this.shown[which] ?? 0)) return;
    if (isAnswer) this.shown[which] = number;
    this.on.picture(which, number, new Blob([new Uint8Array(data, 5)]));
  }

  // Ask for a picture; returns the number of the question. Without a connection it is lost: `open` asks again.
  ask(question) {
    const message = { n: ++this.number, ...question };
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
    return message.n;
  }
}

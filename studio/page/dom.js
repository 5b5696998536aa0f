// Small helpers for the document.

export const byId = (id) => document.getElementById(id);

// An element with properties (aria-* and data-* as attributes) and children.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let timer = 0;

// A line that screen readers read, too; it goes after a while.
export function say(text) {
  byId("said").textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => { byId("said").textContent = ""; }, 8000);
}

// POST to the server; what goes wrong is said in its words. Returns the answer, or null.
export async function post(path, body) {
  try {
    const response = await fetch(path, { method: "POST", body });
    if (response.ok) return await response.json();
    say((await response.text()).trim());
  } catch {
    say("the server cannot be reached; is it still running?");
  }
  return null;
}

export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

export function whole(input, most = 4294967295) {
  const value = Math.round(Number(input.value));
  return Number.isFinite(value) ? clamp(value, 0, most) : 0;
}

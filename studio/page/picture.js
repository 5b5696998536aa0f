// The pictures: each blob is shown when it is decoded, and never an older one after a newer.

const turns = {};
const LEAST = 288; // CSS pixels
const LARGEST_SCALE = 8; // a few pixels that fill a screen are not looked at but into

// `then` is called when it is shown.
export function show(image, blob, about, then) {
  const turn = (turns[image.id] = (turns[image.id] ?? 0) + 1);
  const url = URL.createObjectURL(blob);
  const next = new Image();
  next.src = url;
  next.decode().then(() => {
    if (turn < turns[image.id]) return URL.revokeObjectURL(url);
    const old = image.src;
    image.src = url;
    image.width = next.naturalWidth;
    image.height = next.naturalHeight;
    image.style.maxWidth = `${Math.max(LEAST, LARGEST_SCALE * next.naturalWidth)}px`;
    image.classList.toggle("alpha", about !== undefined && about.channels % 2 === 0);
    then();
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  }).catch(() => URL.revokeObjectURL(url));
}

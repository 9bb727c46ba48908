// How long an item is on the screen: for its judgement (visible, and touched in the last minute), and to keep
// anybody from answering what they have not seen.
const IDLE = 60_000;
const TOO_SOON = 250;
let shownAt = 0;
let used = 0;
let since = 0;
let touchedAt = 0;

// Adds the time in use up to now; what lies past a minute without input does not count.
function count() {
  const now = performance.now();
  if (document.visibilityState === "visible" || since) {
    const end = Math.min(now, touchedAt + IDLE);
    if (since && end > since) used += end - since;
  }
  since = document.visibilityState === "visible" ? now : 0;
}

function touch() {
  count();
  touchedAt = performance.now();
}

export function restart() {
  shownAt = touchedAt = performance.now();
  used = 0;
  since = document.visibilityState === "visible" ? shownAt : 0;
}

export function seconds() {
  count();
  return Math.round(used / 10) / 100;
}

export const tooSoon = () => performance.now() - shownAt < TOO_SOON;

for (const name of ["keydown", "pointerdown", "pointermove", "wheel", "touchstart"]) {
  addEventListener(name, touch, { passive: true, capture: true });
}
document.addEventListener("visibilitychange", count);

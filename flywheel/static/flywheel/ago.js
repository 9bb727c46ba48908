// Keeps relative times true while a page stands open. The words match the template filter `ago`.
const STEPS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [31 * 86400, 86400, "d"]];

export function ago(seconds) {
  if (seconds < 1) return "now";
  for (const [limit, unit, name] of STEPS) {
    if (seconds < limit) return `${Math.floor(seconds / unit)}\u00a0${name} ago`;
  }
  return null;
}

function refresh() {
  if (document.visibilityState !== "visible") return;
  for (const time of document.querySelectorAll("time[data-at]")) {
    const words = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (words && time.textContent !== words) time.textContent = words;
  }
}

setInterval(refresh, 10000);

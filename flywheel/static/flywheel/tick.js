// Fires "tick" on body every 2 s while the page is seen and online. Fragments that poll listen to it
// (hx-trigger="tick from:body"), so a hidden tab asks for nothing.
const PERIOD = 2000;

setInterval(() => {
  if (document.visibilityState === "visible" && navigator.onLine) {
    document.body.dispatchEvent(new CustomEvent("tick"));
  }
}, PERIOD);

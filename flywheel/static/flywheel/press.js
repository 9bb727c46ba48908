// A pressed button waits for the server with the seconds in it, so that nobody presses it again to be sure.
// Nothing depends on it: the form's key makes a second press do nothing.
document.addEventListener("submit", (event) => {
  const button = event.target.matches("[data-press]") && event.submitter;
  if (!button) return;
  const words = button.textContent;
  const began = Date.now();
  const show = () => { button.textContent = `${words} · ${Math.round((Date.now() - began) / 1000)} s`; };
  button.disabled = true;
  const clock = setInterval(show, 1000);
  // Back in the browser may show this very page again.
  addEventListener("pageshow", () => {
    clearInterval(clock);
    button.textContent = words;
    button.disabled = false;
  }, { once: true });
});

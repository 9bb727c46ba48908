// Signing out sends what waits first; what can't be sent is named before it is thrown away, and then the
// outbox is emptied: nothing of a person's work is left in the browser.
import { Outbox } from "./outbox.js";

const form = document.querySelector("form[data-sign-out]");
const user = document.body.dataset.user;

if (form && user) {
  form.addEventListener("submit", async (event) => {
    const outbox = new Outbox(user);
    const waiting = outbox.entries.length;
    if (!waiting) return;
    event.preventDefault();
    await Promise.race([outbox.send(), new Promise((resolve) => { setTimeout(resolve, 2000); })]);
    const left = outbox.entries.length;
    const words = left === 1 ? "1 answer was" : `${left} answers were`;
    if (left && !confirm(`${words} not sent yet: no connection. Sign out and lose ${left === 1 ? "it" : "them"}?`)) return;
    outbox.empty();
    form.submit();
  });
}

// Signing out sends what waits first; what can't be sent is named before it is thrown away, and then outbox and
// drafts are emptied: nothing of a person's work, or of an item, is left in the browser.
import * as drafts from "./drafts.js";
import { Outbox } from "./outbox.js";

const form = document.querySelector("form[data-sign-out]");
const { user, signedOut } = document.body.dataset;
const OTHER_PAGES = "flywheel.signed-out";

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function question(answers, typed) {
  const lost = [answers && counted(answers, "answer"), typed && `what you typed on ${counted(typed, "item")}`].filter(Boolean);
  const many = lost.length > 1 || answers > 1;
  const words = lost.join(" and ");
  return `${words[0].toUpperCase()}${words.slice(1)} ${many ? "were" : "was"} not sent yet${answers ? ": no connection" : ""}. Sign out and lose ${many ? "them" : "it"}?`;
}

if (form && user) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const outbox = new Outbox(user);
    if (outbox.entries.length) {
      await Promise.race([outbox.send(), new Promise((resolve) => { setTimeout(resolve, 2000); })]);
    }
    const [answers, typed] = [outbox.entries.length, drafts.count(user)];
    if (answers + typed && !confirm(question(answers, typed))) return;
    outbox.empty();
    drafts.end();
    form.submit();
  });
}

// What somebody else left here, whose session only ended, is not this person's to keep.
if (user) drafts.forgetAll(user);
if (signedOut !== undefined) {
  drafts.forgetAll();
  try {
    localStorage.setItem(OTHER_PAGES, String(Date.now()));
  } catch {
    // Other pages of this browser find out with their next request.
  }
}
// Signed out in another tab: what stands here goes, too.
addEventListener("storage", (event) => {
  if (event.key !== OTHER_PAGES || !user) return;
  drafts.end();
  location.reload();
});

// The page: polls the overview while it can be seen, at once when the socket says that something happened.

import { json, listen } from "./api.js";
import * as detail from "./detail.js";
import { $, say, setText } from "./dom.js";
import * as gallery from "./gallery.js";
import * as keys from "./keys.js";
import * as queue from "./queue.js";
import * as run from "./run.js";

const BUSY = 1000, IDLE = 5000, NUDGED = 100;
let timer;
let polling = false;
let again = false;
let nudged = false;

async function poll() {
  clearTimeout(timer);
  if (polling) return void (again = true);
  polling = true;
  let wait = IDLE;
  try {
    const found = await json("api/latentgraph/overview");
    queue.show(found);
    gallery.refresh(found.ended);
    $("offline").hidden = true;
    if (found.running.length || found.waiting_count) wait = BUSY;
  } catch (error) {
    setText($("offline"), `The server does not answer (${error.message}). Trying again …`);
    $("offline").hidden = false;
  }
  polling = false;
  if (again) wait = NUDGED;
  again = false;
  if (!document.hidden) timer = setTimeout(poll, wait);
}

// However often it is called, it polls soon, and not more often than that.
function nudge() {
  if (document.hidden || nudged) return;
  nudged = true;
  setTimeout(() => ((nudged = false), poll()), NUDGED);
}

// On narrow screens one part is shown at a time.
function turn() {
  const part = ["#run", "#queue", "#gallery"].includes(location.hash) ? location.hash.slice(1) : "gallery";
  document.body.dataset.part = part;
  for (const link of document.querySelectorAll("#parts a"))
    link.setAttribute("aria-current", link.hash === `#${part}` ? "page" : "false");
}

addEventListener("hashchange", () => (turn(), scrollTo(0, 0)));
document.addEventListener("visibilitychange", () => document.hidden || poll());
turn();
gallery.start(detail.open);
detail.start();
queue.start(poll);
keys.start({ gallery, detail, run: run.run });
await poll(); // asks for the token where there is one
listen(nudge);
run.start(poll).catch((error) => say(`The workflows cannot be listed: ${error.message}`, "bad"));
json("api/latentgraph/overview").then(() => fetch("editor", { method: "HEAD" })).then((a) => ($("editor-link").hidden = !a.ok)).catch(() => {});
document.body.dataset.ready = "";

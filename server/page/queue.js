// The queue: what runs with its progress, what waits; cancel, pause, resume, clear.

import { call, json } from "./api.js";
import { $, confirmed, el, reconcile, say, seconds, setText, svg } from "./dom.js";

let offset = 0; // the server's clock minus ours, in seconds
let waitingCount = 0;
let changed = () => {};

const now = () => Date.now() / 1000 + offset;

export function start(refresh) {
  changed = refresh;
  $("clear").onclick = clear;
  setInterval(tick, 1000);
}

export function show(found) {
  offset = found.now - Date.now() / 1000;
  waitingCount = found.waiting_count;
  reconcile($("running"), found.running, (job) => job.id, runningRow);
  reconcile($("waiting"), found.waiting, (job) => job.id, waitingRow);
  const more = found.waiting_count - found.waiting.length;
  setText($("more-waiting"), more > 0 ? `and ${more.toLocaleString()} more` : "");
  $("clear").hidden = !found.waiting_count;
  $("idle").hidden = Boolean(found.running.length + found.waiting_count);
  const counts = [];
  if (found.running.length) counts.push(`${found.running.length} running`);
  if (found.waiting_count) counts.push(`${found.waiting_count.toLocaleString()} waiting`);
  const text = found.stopping ? "the server is stopping" : counts.join(", ") || "idle";
  setText($("state"), text);
  setText($("queue-badge"), String(found.running.length + found.waiting_count || ""));
  document.title = counts.length ? `${text} · latentgraph` : "latentgraph";
  tick();
}

function tick() {
  for (const node of document.querySelectorAll("[data-since]"))
    setText(node, seconds(now() - Number(node.dataset.since)));
}

const SHAPES = { Cancel: "M4 4L12 12M12 4L4 12", Pause: "M5.5 3.5V12.5M10.5 3.5V12.5", Resume: "M5 3.5L12.5 8L5 12.5Z" };

// A button that is a drawing; its words are for the pointer that rests and for screen readers.
function button(action) {
  const path = svg("path", {});
  const made = el("button", { type: "button", class: "quiet icon", onclick: action },
    svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, path));
  made.become = (what, job) => {
    path.setAttribute("d", SHAPES[what]);
    made.title = `${what} ${job.title}`;
    made.setAttribute("aria-label", made.title);
  };
  return made;
}

function runningRow(job) {
  const title = el("p", { class: "title" });
  const picture = el("img", { class: "preview", alt: "", hidden: true });
  const node = el("span", { class: "node" });
  const steps = el("span", { class: "steps" });
  const bar = el("progress", { max: 1 });
  const time = el("span", { class: "time", title: "time running" });
  const stop = button(() => cancel(job.id, true));
  const pause = button(() => v2(job.id, "pause"));
  const row = el(
    "li",
    { class: "job running", tabIndex: 0 },
    picture,
    el("div", { class: "what" }, title, el("p", { class: "line" }, node, steps), bar),
    el("div", { class: "acts" }, time, el("div", {}, pause, stop)),
  );
  row.update = (job) => {
    const { nodes_done = 0, nodes_total = 0, current_title, current_node_class, step, steps: of } = job.progress;
    setText(title, job.title);
    title.title = job.title;
    row.setAttribute("aria-label", `Running: ${job.title}`);
    setText(node, job.cancelling ? "stopping at the next step" : current_title || "preparing");
    node.title = current_node_class ?? "";
    setText(steps, of ? `step ${step}/${of}` : nodes_total ? `node ${nodes_done + 1}/${nodes_total}` : "");
    const share = of ? step / of : nodes_total ? nodes_done / nodes_total : 0; // of the node where it tells steps
    bar.value = Math.min(1, share);
    bar.setAttribute("aria-label", `${Math.round(100 * share)} percent done`);
    time.dataset.since = job.started ?? job.created;
    stop.disabled = job.cancelling;
    stop.become("Cancel", job);
    pause.become("Pause", job);
    if (job.preview !== null) {
      const url = `api/latentgraph/jobs/${encodeURIComponent(job.id)}/preview?n=${job.preview}`;
      if (picture.getAttribute("src") !== url) picture.src = url;
      picture.alt = "preview of the last step";
      picture.hidden = false;
    }
  };
  row.cancel = () => cancel(row.dataset.key, true);
  return row;
}

function waitingRow(job) {
  const title = el("p", { class: "title" });
  const state = el("span", { class: "node" });
  const time = el("span", { class: "time", title: "time waited" });
  const stop = button(() => cancel(job.id, false));
  const pause = button(() => v2(job.id, job.status === "paused" ? "resume" : "pause"));
  const row = el(
    "li",
    { class: "job", tabIndex: 0 },
    title, state, time,
    el("div", { class: "acts" }, pause, stop),
  );
  row.update = (now) => {
    job = now;
    setText(title, job.title);
    title.title = job.title;
    row.setAttribute("aria-label", `${job.status === "paused" ? "Paused" : "Waiting"}: ${job.title}`);
    setText(state, job.status === "paused" ? "paused" : job.priority ? `priority ${job.priority}` : "");
    time.dataset.since = job.created;
    stop.become("Cancel", job);
    pause.become(job.status === "paused" ? "Resume" : "Pause", job);
  };
  row.cancel = () => cancel(row.dataset.key, false);
  return row;
}

async function cancel(id, running) {
  try {
    if (!running) await json("queue", { json: { delete: [id] } });
    await json("interrupt", { json: { prompt_id: id } }); // it may have begun in between
    say("Cancelled.");
  } catch (error) {
    say(`Could not cancel: ${error.message}`, "bad");
  }
  changed();
}

async function v2(id, what) {
  const answer = await call(`api/v2/jobs/${encodeURIComponent(id)}/${what}`, { method: "POST" });
  if (!answer.ok) say(`Could not ${what} the job (${answer.status}).`, "bad");
  changed();
}

async function clear() {
  const jobs = waitingCount === 1 ? "the job that waits" : `all ${waitingCount.toLocaleString()} jobs that wait`;
  if (!(await confirmed(`Cancel ${jobs}? What runs goes on.`, "Clear the queue"))) return;
  try {
    await json("queue", { json: { clear: true } });
    say("The queue is empty.");
  } catch (error) {
    say(`Could not clear the queue: ${error.message}`, "bad");
  }
  changed();
}

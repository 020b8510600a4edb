// One ended job, large: its pictures, its graph, what it was set to, why it failed.

import { json, viewUrl } from "./api.js";
import { $, el, say, seconds, setText, when } from "./dom.js";
import { stringify } from "./exact.js";
import * as gallery from "./gallery.js";
import { graph } from "./graph.js";
import { again, openForm } from "./run.js";

let shown = null;
let view = "picture";

export function start() {
  $("detail").addEventListener("close", () => {
    if (shown) gallery.focus(shown.id);
    shown = null;
  });
  $("detail-close").onclick = () => $("detail").close();
  for (const name of ["picture", "graph"]) $(`tab-${name}`).onclick = () => turn(name);
  $("tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
    turn(view === "graph" ? "picture" : "graph");
    $(`tab-${view}`).focus();
  });
}

export async function open(id) {
  let job;
  try {
    job = await json(`api/latentgraph/gallery/${encodeURIComponent(id)}`);
  } catch (error) {
    return say(`The job cannot be shown: ${error.message}`, "bad");
  }
  shown = job;
  setText($("detail-title"), job.title);
  $("facts").replaceChildren(...facts(job));
  if (!job.pictures.length && view === "picture") view = "graph";
  else if (job.pictures.length) view = $("detail").open ? view : "picture";
  $("tab-picture").disabled = !job.pictures.length;
  turn(view);
  if (!$("detail").open) $("detail").showModal();
}

export const move = (by) => {
  const id = shown && gallery.beside(shown.id, by);
  if (id) open(id);
};

export const runAgain = () => shown && again(shown.workflow);

function turn(name) {
  view = name;
  for (const other of ["picture", "graph"]) {
    $(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  $("stage").setAttribute("aria-labelledby", `tab-${name}`);
  $("stage").replaceChildren(name === "graph" ? graph(shown.workflow, marks(shown)) : pictures(shown));
}

function marks(job) {
  const found = {};
  for (const id of job.cached) found[id] = "cached";
  for (const id of job.executed) found[id] = "executed";
  if (job.error?.node_id) found[job.error.node_id] = "failed";
  return found;
}

function pictures(job) {
  const large = el("img", { class: "large" });
  const link = el("a", { class: "button", download: "" }, "Download");
  const show = (file, button) => {
    large.src = viewUrl(file);
    large.alt = `${file.filename}: ${job.title}`;
    link.href = viewUrl(file);
    link.download = file.filename;
    for (const other of strip.children) other.setAttribute("aria-pressed", String(other === button));
  };
  large.onerror = () => large.replaceWith(el("p", { class: "gone" }, "The file is gone."));
  const strip = el("div", { class: "strip" }, job.pictures.map((file) => {
    const button = el("button", { type: "button", title: file.filename, "aria-label": `Show ${file.filename}` },
      el("img", { src: viewUrl(file), alt: "", loading: "lazy" }));
    button.onclick = () => show(file, button);
    return button;
  }));
  strip.hidden = job.pictures.length < 2;
  show(job.pictures[0], strip.firstElementChild);
  return el("div", { class: "pictures" }, el("div", { class: "frame" }, large), el("div", { class: "under" }, strip, link));
}

function facts(job) {
  const open = () => {
    $("detail").close();
    openForm(job.workflow, job.form, job.title.slice(0, 60));
    location.hash = "run";
    $("form").querySelector("textarea, input, select")?.focus();
  };
  const save = () => {
    const url = URL.createObjectURL(new Blob([stringify(job.workflow, 2)], { type: "application/json" }));
    el("a", { href: url, download: `${job.id}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
  const act = (label, action, kind = "") => el("button", { type: "button", class: kind, onclick: action }, label);
  const common = job.form.filter((p) => p.common);
  const rest = job.form.filter((p) => !p.common);
  const ended = { success: "Done", error: "Failed", cancelled: "Cancelled" }[job.status] ?? job.status;
  const took = job.started && job.finished ? `${job.status === "success" ? " in" : " after"} ${seconds(job.finished - job.started)}` : "";
  const nodes = `${job.executed.length} nodes ran, ${job.cached.length} came from the cache`;
  return [
    el("p", { class: `ended ${job.status}` }, ended + took),
    el("p", { class: "quiet" }, job.finished && [when(job.finished), el("br")], nodes),
    el("div", { class: "acts" }, act("Run again", () => again(job.workflow), "main"), act("Open as form", open), act("Save workflow", save)),
    job.error && problem(job.error),
    ...job.texts.map((t) => el("div", { class: "said" }, el("h3", {}, t.title), el("p", {}, t.text))),
    common.length > 0 && settings("Settings", common),
    rest.length > 0 && el("details", {}, el("summary", {}, `More settings (${rest.length})`), settings("", rest)),
    el("p", { class: "quiet id" }, job.id),
  ].filter(Boolean);
}

function problem(error) {
  return el("div", { class: "failure", role: "note" },
    el("h3", {}, error.title || "The job failed", el("small", {}, error.node_id ? ` ${error.class_type ?? ""} · #${error.node_id}` : "")),
    el("p", { class: "message" }, error.message),
    error.hint && el("p", { class: "hint" }, error.hint),
    error.traceback && el("details", {}, el("summary", {}, "Traceback"), el("pre", { tabIndex: 0 }, error.traceback)));
}

function settings(heading, parameters) {
  const groups = [...Map.groupBy(parameters, (p) => p.node_id).values()];
  const rows = groups.flatMap((group) => {
    const many = group.length > 1;
    return group.map((p) => [el("dt", {}, many ? `${p.title} · ${p.input}` : p.title), el("dd", {}, String(p.value) || "–")]);
  });
  return el("section", {}, heading && el("h3", {}, heading), el("dl", {}, rows));
}

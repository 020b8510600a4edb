// Running a workflow: a shipped one, or any file that is dropped on the page, as a form.

import { clientId, json } from "./api.js";
import { $, el, say, setText } from "./dom.js";
import { parse } from "./exact.js";
import { form } from "./form.js";
import { isPng, texts } from "./png.js";

let current = null;
let changed = () => {};

export async function start(refresh) {
  changed = refresh;
  $("run-form").onsubmit = (event) => (event.preventDefault(), run());
  $("workflow").onchange = () => choose($("workflow").value);
  $("open").onclick = () => $("file").click();
  $("file").onchange = () => $("file").files[0] && take($("file").files[0]).then(() => ($("file").value = ""));
  drops();
  const { workflows } = await json("api/latentgraph/workflows");
  const options = workflows.map((w) => el("option", { value: w.name, title: w.description }, w.title));
  $("workflow").append(...options);
  const first = workflows.find((w) => w.name === "text_to_image") ?? workflows[0];
  if (first && !current) {
    $("workflow").value = first.name;
    await choose(first.name);
  }
}

async function choose(name) {
  if (!name) return;
  try {
    const found = await json(`api/latentgraph/workflows/${encodeURIComponent(name)}`);
    use(found.workflow, found.form, true);
  } catch (error) {
    say(`The workflow cannot be opened: ${error.message}`, "bad");
  }
}

// Open any workflow as a form, under a name of its own in the list.
export function openForm(workflow, parameters, name, rollSeeds = false) {
  let own = $("own-workflow");
  if (!own) $("workflow").prepend((own = el("option", { id: "own-workflow", value: "" })));
  setText(own, name);
  $("workflow").value = "";
  use(workflow, parameters, rollSeeds);
}

function use(workflow, parameters, rollSeeds) {
  current = form(workflow, parameters, rollSeeds);
  $("form").replaceChildren(current.element);
  $("go").disabled = false;
}

export async function run() {
  if (!current || $("go").disabled) return;
  $("go").disabled = true;
  const shown = current;
  shown.roll();
  try {
    const answer = await json("prompt", { json: { prompt: shown.prompt(), client_id: clientId } });
    shown.show(null, answer.node_errors);
    say("In the queue.");
  } catch (error) {
    const nodeErrors = error.body?.node_errors;
    shown.show(error.body?.error ?? { message: error.message }, nodeErrors);
    say("It cannot run as it is; what is wrong stands at the fields.", "bad");
  } finally {
    $("go").disabled = false;
    changed();
  }
}

// Run a workflow again as it was.
export async function again(workflow) {
  try {
    await json("prompt", { json: { prompt: workflow, client_id: clientId } });
    say("In the queue again.");
  } catch (error) {
    say(`It cannot run: ${error.message}`, "bad");
  }
  changed();
}

async function take(file) {
  try {
    const found = await json("api/latentgraph/form", { method: "POST", body: await workflowIn(file) });
    openForm(found.workflow, found.form, file.name);
    say(`${file.name} is open.`);
    location.hash = "run";
  } catch (error) {
    say(`${file.name}: ${error.message}`, "bad");
  }
}

// The workflow's text where it can be read here; else the file itself, for the server to read.
async function workflowIn(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!isPng(bytes)) return bytes;
  const { prompt, workflow } = await texts(bytes);
  if (!prompt && !workflow) throw new Error("the picture carries no workflow");
  parse(prompt ?? workflow);
  return prompt ?? workflow;
}

function drops() {
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (event.defaultPrevented || !carries(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  addEventListener("drop", () => document.body.classList.remove("dropping"), true);
}

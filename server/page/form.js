// A form of the inputs that may be set in a workflow, and errors shown at them.

import { json, viewUrl } from "./api.js";
import { el, say, setText } from "./dom.js";

let numbered = 0;

// Gives {element, prompt(), roll(), show(errors)}.
export function form(workflow, parameters, rollSeeds) {
  const fields = parameters.map((parameter) => field(parameter, rollSeeds));
  const groups = (chosen) => {
    const found = Map.groupBy(chosen, (f) => f.parameter.node_id);
    return [...found.values()].map((group) => grouped(group));
  };
  const common = fields.filter((f) => f.parameter.common);
  const rest = fields.filter((f) => !f.parameter.common);
  const unplaced = el("ul", { class: "problems", role: "alert" });
  const further = rest.length > 0 && el("details", { open: !common.length },
    el("summary", {}, `${common.length ? "More settings" : "Settings"} (${rest.length})`), groups(rest));
  return {
    element: el("div", { class: "fields" }, unplaced, groups(common), further),
    roll: () => fields.forEach((f) => f.roll?.()),
    prompt: () => {
      const made = structuredClone(workflow);
      for (const { parameter, value } of fields) made[parameter.node_id].inputs[parameter.input] = value();
      return made;
    },
    show: (error, nodeErrors) => showErrors(fields, unplaced, error, nodeErrors, workflow),
  };
}

function grouped(group) {
  const { title, class_type } = group[0].parameter;
  const only = group.length === 1;
  if (only) setText(group[0].label, title === class_type ? `${title} · ${group[0].parameter.input}` : title);
  const place = (f) => ["wide", "number"].findIndex((kind) => f.element.classList.contains(kind)) & 3; // 0, 1, rest 3
  const elements = group.toSorted((a, b) => place(a) - place(b)).map((f) => f.element);
  if (only) return elements[0];
  return el("fieldset", {}, el("legend", { title: class_type }, title), el("div", { class: "grid" }, elements));
}

function field(parameter, rollSeeds) {
  const id = `field-${++numbered}`;
  const control = controlOf(parameter, id, rollSeeds);
  const error = el("p", { class: "error", id: `${id}-error` });
  const label = el("label", { htmlFor: id, title: parameter.doc ?? "" }, parameter.input.replaceAll("_", " "));
  control.input.setAttribute("aria-describedby", error.id);
  const kind = parameter.multiline || control.wide ? "wide" : control.kind ?? "";
  const mark = (text) => {
    setText(error, text);
    if (text) control.input.setAttribute("aria-invalid", "true");
    else control.input.removeAttribute("aria-invalid");
  };
  control.input.addEventListener("input", () => mark(""));
  const element = el("div", { class: `field ${kind}` }, label, control.element, error);
  element.dataset.name = parameter.name;
  return { parameter, element, label, mark, input: control.input, value: control.value, roll: control.roll };
}

function controlOf(parameter, id, rollSeeds) {
  if (parameter.role === "input" && parameter.choices) return pictureControl(parameter, id);
  if (parameter.choices) return choiceControl(parameter, id);
  if (parameter.type === "BOOLEAN") {
    const input = el("input", { id, type: "checkbox", checked: parameter.value });
    return { input, element: input, value: () => input.checked };
  }
  if (parameter.seed) return seedControl(parameter, id, rollSeeds);
  if (parameter.type === "INT" || parameter.type === "FLOAT") return numberControl(parameter, id);
  const input = parameter.multiline
    ? el("textarea", { id, rows: 3, value: parameter.value })
    : el("input", { id, type: "text", value: parameter.value });
  return { input, element: input, value: () => input.value };
}

function choiceControl(parameter, id) {
  const known = parameter.choices.includes(parameter.value);
  const choices = known ? parameter.choices : [parameter.value, ...parameter.choices];
  const input = el("select", { id }, choices.map((choice, i) => el("option", { value: i }, String(choice))));
  input.value = String(choices.indexOf(parameter.value));
  return { input, element: input, value: () => choices[Number(input.value)] };
}

// What stands in the field, as a number where it is one; the server says what is wrong with anything else.
function numberOf(text, type) {
  const trimmed = text.trim();
  if (type === "INT" && /^[+-]?\d+$/.test(trimmed)) {
    const whole = BigInt(trimmed);
    return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole;
  }
  const number = Number(trimmed);
  return trimmed && Number.isFinite(number) ? number : text;
}

function numberControl(parameter, id) {
  const { type, step, value } = parameter;
  const [min, max] = [Number(parameter.min ?? -Infinity), Number(parameter.max ?? Infinity)];
  const input = el("input", { id, type: "text", inputMode: type === "INT" ? "numeric" : "decimal", value: String(value) });
  const by = step ?? (type === "INT" ? 1 : 0.1);
  if (max - min < 1e6) input.title = `${min} to ${max}`;
  input.addEventListener("keydown", (event) => {
    const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const now = Number(input.value);
    if (!sign || !Number.isFinite(now)) return;
    event.preventDefault();
    const next = Math.min(max, Math.max(min, now + sign * by));
    input.value = String(Number(next.toFixed(10)));
    input.dispatchEvent(new Event("input"));
  });
  return { input, element: input, kind: "number", value: () => numberOf(input.value, type) };
}

function seedControl(parameter, id, rollSeeds) {
  const number = numberControl(parameter, id);
  const fresh = el("input", { type: "checkbox", checked: rollSeeds });
  const most = Math.min(Number(parameter.max ?? 2 ** 32), 2 ** 48);
  const roll = () => {
    number.input.value = String(Math.floor(Math.random() * most));
    number.input.dispatchEvent(new Event("input"));
  };
  const element = el("div", { class: "seed" }, number.input,
    el("button", { type: "button", class: "quiet", onclick: roll, "aria-label": "New seed", title: "New seed" }, "New"),
    el("label", { class: "check" }, fresh, "new for each run"));
  return { ...number, element, wide: true, roll: () => fresh.checked && roll() };
}

function pictureControl(parameter, id) {
  const input = el("select", { id });
  const shown = el("img", { alt: "", class: "chosen" });
  const file = el("input", { type: "file", accept: "image/*", class: "visually-hidden", tabIndex: -1 });
  const names = [...new Set([parameter.value, ...parameter.choices].map(String))];
  const fill = (value) => {
    input.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    input.value = value;
    look();
  };
  const look = () => {
    const parts = input.value.split("/");
    shown.hidden = false;
    shown.src = viewUrl({ filename: parts.pop(), subfolder: parts.join("/"), type: "input" });
  };
  shown.onerror = () => (shown.hidden = true);
  input.addEventListener("change", look);
  const upload = async (picture) => {
    const body = new FormData();
    body.append("image", picture, picture.name || "picture.png");
    try {
      const kept = await json("upload/image", { method: "POST", body });
      const name = kept.subfolder ? `${kept.subfolder}/${kept.name}` : kept.name;
      if (!names.includes(name)) names.unshift(name);
      fill(name);
      input.dispatchEvent(new Event("input"));
      say(`${name} is uploaded.`);
    } catch (error) {
      say(`The upload failed: ${error.message}`, "bad");
    }
  };
  file.onchange = () => file.files[0] && upload(file.files[0]);
  const element = el("div", { class: "picture" }, shown, el("div", {}, input,
    el("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Upload or drop a picture"), file));
  element.addEventListener("dragover", (event) => (event.preventDefault(), element.classList.add("over")));
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    element.classList.remove("over");
    const [picture] = event.dataTransfer.files;
    if (!picture?.type.startsWith("image/")) return;
    event.preventDefault();
    event.stopPropagation();
    upload(picture);
  });
  fill(String(parameter.value));
  return { input, element, wide: true, value: () => input.value };
}

// All that is wrong at once: at the fields that it concerns, the rest above them.
function showErrors(fields, unplaced, error, nodeErrors, workflow) {
  const rest = [];
  let first = null;
  for (const f of fields) f.mark("");
  for (const [id, { errors, class_type }] of Object.entries(nodeErrors ?? {}))
    for (const { message, details, extra_info } of errors) {
      const port = extra_info?.input_name;
      const hit = fields.find((f) => f.parameter.node_id === id && f.parameter.input === port);
      const text = [message, details === port ? "" : details].filter(Boolean).join(" – ");
      if (hit) {
        hit.mark(text);
        hit.element.closest("details")?.setAttribute("open", "");
        first ??= hit.input;
      } else rest.push(`${workflow[id]?._meta?.title || class_type || `node ${id}`}: ${text}`);
    }
  if (error && !rest.length && !first) {
    const hint = error.extra_info?.hint;
    rest.push([error.message, error.details, hint].filter(Boolean).join(" – "));
  }
  unplaced.replaceChildren(...rest.map((text) => el("li", {}, text)));
  if (first) first.focus();
  else if (rest.length) unplaced.scrollIntoView({ block: "nearest" });
}

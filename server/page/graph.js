// A workflow as a drawing: columns by depth, links as curves; what a node is set to shows on hover and focus.

import { el, svg } from "./dom.js";
import { stringify } from "./exact.js";

const WIDTH = 172, HEIGHT = 42, GAP_X = 64, GAP_Y = 14, EDGE = 16;

const isLink = (value, nodes) =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && value[0] in nodes;

export function layout(nodes) {
  const ids = Object.keys(nodes);
  const links = ids.flatMap((id) =>
    Object.entries(nodes[id]?.inputs ?? {}).filter(([, v]) => isLink(v, nodes)).map(([name, v]) => ({ from: v[0], to: id, name })),
  );
  const after = new Map(ids.map((id) => [id, []]));
  const open = new Map(ids.map((id) => [id, 0]));
  for (const { from, to } of links) {
    after.get(from).push(to);
    open.set(to, open.get(to) + 1);
  }
  const depth = new Map(ids.map((id) => [id, 0])); // nodes of a cycle, which no server would run, stay at 0
  const order = ids.filter((id) => !open.get(id));
  for (let i = 0; i < order.length; i++)
    for (const to of after.get(order[i])) {
      depth.set(to, Math.max(depth.get(to), depth.get(order[i]) + 1));
      open.set(to, open.get(to) - 1);
      if (!open.get(to)) order.push(to);
    }
  for (const id of order.toReversed()) // sources stand just left of what they feed
    if (after.get(id).length && !links.some((l) => l.to === id))
      depth.set(id, Math.min(...after.get(id).map((to) => depth.get(to))) - 1);
  return { ...placed(ids, links, depth), links, order: [...order, ...ids.filter((id) => open.get(id))] };
}

function placed(ids, links, depth) {
  const columns = [];
  for (const id of ids) (columns[depth.get(id)] ??= []).push(id);
  const tallest = Math.max(...columns.map((c) => c?.length ?? 0));
  const into = new Map(ids.map((id) => [id, []]));
  for (const { from, to } of links) into.get(to).push(from);
  const at = new Map();
  columns.forEach((column, x) => {
    const wish = (id) => {
      const tops = into.get(id).filter((from) => at.has(from)).map((from) => at.get(from).y);
      return tops.length ? tops.reduce((a, b) => a + b, 0) / tops.length : Infinity;
    };
    const wishes = new Map(column.map((id) => [id, wish(id)]));
    column.sort((a, b) => (wishes.get(a) === wishes.get(b) ? 0 : wishes.get(a) - wishes.get(b)));
    const top = EDGE + ((tallest - column.length) * (HEIGHT + GAP_Y)) / 2;
    column.forEach((id, y) => at.set(id, { x: EDGE + x * (WIDTH + GAP_X), y: top + y * (HEIGHT + GAP_Y) }));
  });
  return {
    at,
    width: 2 * EDGE + columns.length * (WIDTH + GAP_X) - GAP_X,
    height: 2 * EDGE + tallest * (HEIGHT + GAP_Y) - GAP_Y,
  };
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// The drawing with its controls. `marks` gives a node's class: executed, cached or failed.
export function graph(nodes, marks = {}) {
  const { at, width, height, links, order } = layout(nodes);
  const curves = links.map(({ from, to, name }) => {
    const a = at.get(from), b = at.get(to);
    const x = a.x + WIDTH, y = a.y + HEIGHT / 2, u = b.x, v = b.y + HEIGHT / 2, bend = Math.max(24, (u - x) / 2);
    const path = svg("path", { class: "link", d: `M${x} ${y}C${x + bend} ${y} ${u - bend} ${v} ${u} ${v}` });
    path.append(svg("title", {}, name));
    return Object.assign(path, { ends: [from, to] });
  });
  const boxes = new Map(order.map((id) => [id, box(id, nodes[id], at.get(id), marks[id])]));
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "drawing", role: "group", "aria-label": `Graph of ${order.length} nodes`, tabindex: 0 },
    svg("g", {}, curves), svg("g", {}, [...boxes.values()]),
  );
  const facts = el("div", { class: "facts", "aria-live": "polite" }, el("p", {}, "Point at a node to see what it is set to."));
  let shown = -1;
  const show = (id) => {
    shown = order.indexOf(id);
    for (const [other, shape] of boxes) shape.classList.toggle("shown", other === id);
    for (const curve of curves) curve.classList.toggle("shown", curve.ends.includes(id));
    facts.replaceChildren(...described(id, nodes));
  };
  drawing.addEventListener("pointerover", (event) => event.target.closest(".box")?.dataset.id !== undefined && show(event.target.closest(".box").dataset.id));
  const area = el("div", { class: "area" }, drawing);
  drawing.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const id = order[Math.max(0, Math.min(order.length - 1, shown + by))];
    show(id);
    boxes.get(id).scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  const whole = el("div", { class: "graph" }, controls(drawing, area, width, height), area, facts);
  return whole;
}

function box(id, node, { x, y }, mark = "") {
  const kind = String(node?.class_type ?? "?");
  const title = String(node?._meta?.title || kind);
  const shape = svg(
    "g",
    { class: `box ${mark}`, transform: `translate(${x} ${y})`, role: "img", "aria-label": `${title}, ${kind}${mark ? `, ${mark}` : ""}` },
    svg("rect", { width: WIDTH, height: HEIGHT, rx: 6 }),
    svg("text", { x: 10, y: 17, class: "name" }, short(title, 24)),
    svg("text", { x: 10, y: 33, class: "kind" }, short(title === kind ? `#${id}` : kind, 27)),
  );
  shape.dataset.id = id;
  return shape;
}

function described(id, nodes) {
  const node = nodes[id] ?? {};
  const entries = Object.entries(node.inputs ?? {}).map(([name, value]) => {
    const from = isLink(value, nodes) ? nodes[value[0]] : null;
    const text = from ? `← ${from._meta?.title || from.class_type} [${value[1]}]` : typeof value === "object" ? stringify(value) : String(value);
    return [el("dt", {}, name), el("dd", { class: from ? "from" : "" }, short(text, 600) || "–")];
  });
  const title = node._meta?.title || node.class_type;
  return [el("h4", {}, `${title}`, el("small", {}, ` ${node.class_type} · #${id}`)), el("dl", {}, entries)];
}

function controls(drawing, area, width, height) {
  let scale = 1;
  const zoom = (to) => {
    scale = Math.min(3, Math.max(0.05, to));
    drawing.setAttribute("width", Math.round(width * scale));
    drawing.setAttribute("height", Math.round(height * scale));
  };
  const fitting = () => Math.min(1, (area.clientWidth || 700) / width, (area.clientHeight || 500) / height);
  const button = (text, label, act) => el("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick: act }, text);
  new ResizeObserver((_, observer) => area.clientWidth && (zoom(Math.max(0.65, fitting())), observer.disconnect())).observe(area);
  area.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(scale * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
  }, { passive: false });
  drag(area);
  zoom(1);
  return el("div", { class: "zoom", role: "toolbar", "aria-label": "Zoom" },
    button("−", "Smaller", () => zoom(scale / 1.3)), button("+", "Larger", () => zoom(scale * 1.3)),
    button("Fit", "Fit to the window", () => zoom(fitting())), button("1:1", "Full size", () => zoom(1)));
}

// With a mouse the drawing is dragged; fingers scroll by themselves.
function drag(area) {
  area.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    const from = { x: event.clientX + area.scrollLeft, y: event.clientY + area.scrollTop };
    const move = (now) => area.scrollTo(from.x - now.clientX, from.y - now.clientY);
    const end = () => (removeEventListener("pointermove", move), removeEventListener("pointerup", end));
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
  });
}

// The gallery: ended jobs, newest first, searched by the server, loaded page by page as one scrolls.

import { json, viewUrl } from "./api.js";
import { $, el, reconcile, say, setText, when } from "./dom.js";

const PAGE = 48;
let cards = [];
let next = null; // cursor of the page to load; null where there is none
let loading = false;
let asking = 0; // the number of the last search, so that late answers to earlier ones are dropped
let newest; // cursor of the newest ended job that the overview told
let open = () => {};

export function start(onOpen) {
  open = onOpen;
  let typing;
  $("search").oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(reload, 200);
  };
  $("status").onchange = reload;
  new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && more()).observe($("more"));
  $("tiles").addEventListener("keydown", arrows);
}

const searched = () => $("search").value || $("status").selectedIndex > 0;

const address = (before) => {
  const query = { limit: PAGE, q: $("search").value, status: $("status").value, before: before ?? "" };
  return `api/latentgraph/gallery?${new URLSearchParams(query)}`;
};

async function load(before) {
  const number = ++asking;
  loading = true;
  try {
    const found = await json(address(before));
    return number === asking ? found : null;
  } catch (error) {
    say(`The gallery could not be read: ${error.message}`, "bad");
    return null;
  } finally {
    if (number === asking) loading = false;
  }
}

export async function reload() {
  const found = await load(null);
  if (!found) return;
  cards = found.jobs;
  next = found.next;
  show();
}

async function more() {
  if (loading || next === null) return;
  const found = await load(next);
  if (!found) return;
  const known = new Set(cards.map((card) => card.id));
  cards.push(...found.jobs.filter((card) => !known.has(card.id)));
  next = found.next;
  show();
}

// The overview says what has just ended: new jobs come to the top without touching what is shown.
export async function refresh(ended) {
  const last = ended[0]?.cursor ?? "";
  if (last === newest || loading) return;
  const first = newest === undefined;
  newest = last;
  const known = new Set(cards.map((card) => card.id));
  const joined = ended.findIndex((card) => known.has(card.id));
  if (first || searched() || joined < 0) return reload();
  cards.unshift(...ended.slice(0, joined));
  show();
}

function show() {
  reconcile($("tiles"), cards, (card) => card.id, tile);
  $("nothing").hidden = cards.length > 0;
  setText($("nothing"), searched() ? "Nothing was found." : "No pictures yet. Choose a workflow and press Run.");
  setText($("found"), cards.length ? `${cards.length.toLocaleString()}${next === null ? "" : "+"}` : "");
  if (!$("tiles").querySelector("[tabindex='0']")) $("tiles").querySelector("button")?.setAttribute("tabindex", "0");
  queueMicrotask(() => $("more").getBoundingClientRect().top < innerHeight && more());
}

function tile(card) {
  const words = { success: "", error: "Failed", cancelled: "Cancelled" }[card.status];
  const inside = [];
  if (card.pictures.length && card.status !== "error") {
    const image = el("img", { src: viewUrl(card.pictures[0]), alt: "", loading: "lazy", decoding: "async" });
    image.onerror = () => image.replaceWith(el("span", { class: "gone" }, "The file is gone"));
    inside.push(image);
  } else {
    const text = card.error ? `${card.error.title}: ${card.error.message}` : words ? "" : "No picture";
    inside.push(el("span", { class: "gone" }, text));
  }
  if (card.count > 1) inside.push(el("span", { class: "count" }, `${card.count}`));
  if (words) inside.push(el("span", { class: `mark ${card.status}` }, words));
  const label = `${words || "Done"}: ${card.title}, ${when(card.finished)}`;
  const button = el("button", { type: "button", class: "tile", tabIndex: -1, "aria-label": label, title: card.title }, inside);
  button.onclick = () => open(card.id);
  button.onfocus = () => select(button);
  return el("li", { class: card.status }, button, el("p", { class: "caption" }, card.title));
}

function select(button) {
  for (const other of $("tiles").querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  button.tabIndex = 0;
}

const buttons = () => [...$("tiles").querySelectorAll("button")];

export function move(by) {
  const all = buttons();
  if (!all.length) return;
  const at = all.indexOf(document.activeElement);
  const to = at < 0 ? all.find((b) => b.tabIndex === 0) ?? all[0] : all[Math.max(0, Math.min(all.length - 1, at + by))];
  to.focus();
  to.scrollIntoView({ block: "nearest" });
}

function arrows(event) {
  const columns = getComputedStyle($("tiles")).gridTemplateColumns.split(" ").length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  move(by);
}

// The job beside another in the order of the gallery.
export function beside(id, by) {
  const at = cards.findIndex((card) => card.id === id);
  if (at + by >= cards.length - 4) more();
  return at < 0 ? undefined : cards[at + by]?.id;
}

export function focus(id) {
  const item = [...$("tiles").children].find((child) => child.dataset.key === id);
  item?.querySelector("button").focus();
}

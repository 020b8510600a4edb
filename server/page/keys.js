// The keyboard: one table, which the help shows too.

import { $, el } from "./dom.js";

export function start({ gallery, detail, run }) {
  const inDetail = () => $("detail").open;
  const step = (by) => (inDetail() ? detail.move(by) : gallery.move(by));
  const go = (name) => (location.hash = name);
  const table = [
    [["j"], "Next picture", () => step(1)],
    [["k"], "Previous picture", () => step(-1)],
    [["ArrowRight", "ArrowDown"], "Next picture (in the gallery: beside and below)", () => inDetail() && step(1)],
    [["ArrowLeft", "ArrowUp"], "Previous picture", () => inDetail() && step(-1)],
    [["Enter"], "Open the picture", null],
    [["Escape"], "Close", null],
    [["g"], "Picture or graph of the open job", () => inDetail() && $(view() === "graph" ? "tab-picture" : "tab-graph").click()],
    [["r"], "Run; in an open job: run it again", () => (inDetail() ? detail.runAgain() : run())],
    [["/"], "Search", () => inDetail() || (go("gallery"), $("search").focus())],
    [["c"], "Cancel the selected job of the queue", () => document.activeElement?.closest(".job")?.cancel()],
    [["?"], "This help", () => $("help").showModal()],
  ];
  const view = () => ($("tab-graph").getAttribute("aria-selected") === "true" ? "graph" : "picture");
  const names = { ArrowRight: "→", ArrowDown: "↓", ArrowLeft: "←", ArrowUp: "↑", Escape: "Esc" };
  const rows = table.map(([keys, words]) => [el("dt", {}, keys.map((key) => el("kbd", {}, names[key] ?? key))), el("dd", {}, words)]);
  $("help").querySelector("dl").append(...rows.flat());
  $("help-open").onclick = () => $("help").showModal();
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches?.("input, textarea, select");
    if (typing) return event.key === "Escape" && !document.querySelector("dialog[open]") && event.target.blur();
    if ($("help").open || $("confirm").open || $("token").open) return;
    const act = table.find(([keys, , action]) => action && keys.includes(event.key))?.[2];
    if (!act || (event.target.closest("#tiles") && event.key.startsWith("Arrow"))) return;
    if (inDetail() || !event.key.startsWith("Arrow")) event.preventDefault();
    act();
  });
}

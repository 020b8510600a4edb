// Calls to the server: the token where one is asked for, JSON without loss, addresses of files.

import { $, setText } from "./dom.js";
import { parse, stringify } from "./exact.js";

const NAME = "latentgraph_token";
export const clientId = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random()}`;

export class Failure extends Error {
  constructor(status, body, text) {
    super(body?.error?.message || text || `the server answered ${status}`);
    Object.assign(this, { status, body });
  }
}

export async function call(path, options = {}) {
  for (let refused = false; ; refused = true) {
    const token = sessionStorage.getItem(NAME);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(path, { ...options, headers });
    if (answer.status !== 401) return answer;
    if (token === sessionStorage.getItem(NAME)) await askForToken(Boolean(token) || refused);
  }
}

export async function json(path, options = {}) {
  if (options.json !== undefined)
    options = { method: "POST", ...options, body: stringify(options.json), headers: { "Content-Type": "application/json" } };
  const answer = await call(path, options);
  const text = await answer.text();
  let body = null;
  try {
    body = text ? parse(text) : null;
  } catch {
    if (answer.ok) throw new Failure(answer.status, null, "the server's answer is no JSON");
  }
  if (!answer.ok) throw new Failure(answer.status, body, text.slice(0, 500));
  return body;
}

export function viewUrl(file) {
  const { filename, subfolder, type } = file;
  return `view?${new URLSearchParams({ filename, subfolder: subfolder || "", type: type || "output" })}`;
}

// One dialog for all calls that wait. The cookie is for pictures, the socket and the editor, which send no headers.
let asked = null;
function askForToken(wrong) {
  asked ??= new Promise((resolve) => {
    const dialog = $("token");
    setText($("token-wrong"), wrong ? "The server does not take this token." : "");
    dialog.onclose = () => asked && dialog.showModal(); // nothing can be shown without it
    dialog.querySelector("form").onsubmit = () => {
      const token = $("token-value").value.trim();
      sessionStorage.setItem(NAME, token);
      document.cookie = `${NAME}=${encodeURIComponent(token)}; path=/; SameSite=Strict`;
      asked = null;
      resolve();
    };
    if (!dialog.open) dialog.showModal();
  });
  return asked;
}

// Status messages: whatever happens in the queue calls `nudge`; polling goes on without the socket.
export function listen(nudge, wait = 1000) {
  const url = new URL(`ws?clientId=${clientId}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  const opened = Date.now();
  socket.onmessage = ({ data }) => typeof data === "string" && /^{"type": ?"status"/.test(data) && nudge();
  socket.onclose = () => {
    const next = Date.now() - opened > 10000 ? 1000 : Math.min(wait * 2, 30000);
    setTimeout(() => listen(nudge, next), wait);
  };
}

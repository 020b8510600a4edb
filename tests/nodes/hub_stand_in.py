"""A small server that speaks the hub's routes, and that cuts, holds, refuses and lies where a test asks."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 100_000


@dataclass
class Hub:
    """What it serves, and what it was asked.

    Args:
        repos: Files by path, by repository.
        gated: Repositories that need a token.
        cuts: For a path, after how many bytes of each answer in turn the connection ends.
        holds: For a path, after how many bytes the first answer waits until `released`, and is reset then.
        sizes: Sizes to claim, by path.
        damaged: Paths whose next answer has a wrong byte.
        ignores_ranges: Whether a range is answered by the whole file.
        asked: (path, Range header, whether there was a token) of each file that was asked for.
    """

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    ignores_ranges: bool = False
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of the answers for a path that had content."""
        return [asked for name, asked, _ in self.asked if name == path]

    def listing(self, repo: str) -> dict[str, Any]:
        """The answer of the models API."""
        siblings = []
        for path, content in self.repos[repo].items():
            size = self.sizes.get(path, len(content))
            entry: dict[str, Any] = {"rfilename": path, "size": size}
            entry["blobId"] = sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            if len(content) >= LARGE or path in self.sizes:
                entry["lfs"] = {"sha256": sha256(content).hexdigest(), "size": size, "pointerSize": 134}
            siblings.append(entry)
        return {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer at `hub.url` until the end of the block."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(p) for p in url.path.strip("/").split("/")]
        if parts == ["api", "models"]:
            wanted = parse_qs(url.query)["search"][0].lower()
            self._json([{"id": r} for r in self.hub.repos if wanted[:4] in r.lower()])
        elif parts[:2] == ["api", "models"]:
            self._listing("/".join(parts[2:4]), parts[5])
        elif parts[0] == "cdn":
            self._content("/".join(parts[1:3]), "/".join(parts[3:]))
        elif parts[2:3] == ["resolve"]:
            self._resolved("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._refuse(404, "")

    def _listing(self, repo: str, revision: str) -> None:
        if repo not in self.hub.repos:
            self._refuse(401, "RepoNotFound")  # so to those without a token
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            self._json(self.hub.listing(repo))

    def _resolved(self, repo: str, path: str) -> None:
        if repo in self.hub.gated and self.headers.get("Authorization") != "Bearer hf_good":
            self._refuse(401, "GatedRepo")
        elif len(self.hub.repos[repo][path]) >= LARGE:  # the hub sends large files from another host
            self.send_response(302)
            host = self.hub.url.replace("127.0.0.1", "localhost")
            self.send_header("Location", f"{host}/cdn/{repo}/{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._content(repo, path)

    def _content(self, repo: str, path: str) -> None:
        content = self.hub.repos[repo][path]
        asked = self.headers.get("Range")
        self.hub.asked.append((path, asked, "Authorization" in self.headers))
        start, end = 0, len(content)
        if asked and not self.hub.ignores_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(end, int(last) + 1 if last else end)
        if path in self.hub.damaged:
            self.hub.damaged.remove(path)
            content = content[:-1] + bytes([content[-1] ^ 1])
        body = content[start:end]
        self.send_response(206 if start or end < len(content) else 200)
        self.send_header("Content-Length", str(len(body)))
        if start or end < len(content):
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(ConnectionError):
            self._send(path, body)

    def _send(self, path: str, body: bytes) -> None:
        if cuts := self.hub.cuts.get(path):
            self.wfile.write(body[: cuts.pop(0)])
            self.close_connection = True
        elif path in self.hub.holds:
            self.wfile.write(body[: self.hub.holds.pop(path)])
            self.wfile.flush()
            self.hub.released.wait()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

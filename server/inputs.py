"""Inputs beside a workflow: named parameters, bytes, URLs, uploads and assets, set before it is checked."""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from engine.graph import is_link
from server.assets import Assets, Gone
from server.outward import Hosts, NotAllowed
from server.placing import graph_of, placed
from server.receiving import CHUNK, Received, Receiving
from server.state import State
from server.wire import Refused

ASSET = "core/ASSET"
SOURCES = ("base64", "url", "upload", "asset")
FETCH_S = 30.0
"""Seconds in which an input has to have come from its URL."""
MOST_HOPS = 5
_DATA_URL = re.compile(r"data:([\w.+/-]*)[^,]{0,200},")


@dataclass(frozen=True)
class Wrong:
    """An input that cannot be had: which, why, and what programs call that."""

    node_id: str
    input: str
    code: str
    message: str


@dataclass
class Inputs:
    """Puts what was sent beside a workflow into it.

    Args:
        uploads: The files that came as parts of the request, by name.
        hashes: The contents that the workflow reads; to be kept as long as its job.
    """

    state: State
    uploads: Mapping[str, Received] = field(default_factory=dict)
    hashes: set[str] = field(default_factory=set)
    wrong: list[Wrong] = field(default_factory=list)

    @property
    def assets(self) -> Assets:
        """Where contents are kept."""
        return Assets(self.state.queue, self.state.files)

    async def into(self, workflow: Any, named: Any) -> dict[str, Any]:
        """The workflow with everything in its place: values set, contents kept, references resolved.

        Raises:
            Refused: 422, it is no workflow, or not everything could be had; with all that is wrong.
        """
        graph = graph_of(workflow)
        if not isinstance(named, dict):
            raise Refused(422, "invalid_inputs", "inputs is an object of NODE.INPUT: value")
        if named:
            for node_id, port, value in placed(graph, named, self.state.registry):
                node = graph[node_id]
                given = await self._given(node_id, port, value)
                graph[node_id] = {**node, "inputs": {**node.get("inputs", {}), port: given}}
        for node_id, node in graph.items():
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
                held = [port for port, value in node["inputs"].items() if _may_refer(value)]
                found = {port: await self._resolved(node_id, port, node["inputs"][port]) for port in held}
                graph[node_id] = {**node, "inputs": {**node["inputs"], **found}} if found else node
        if self.wrong:
            raise self._refused()
        return graph

    async def _given(self, node_id: str, port: str, value: Any) -> Any:
        """What stands in the workflow for a value that was given: itself, or the name of a kept file."""
        source = _source(value)
        if source is None:
            return value
        try:
            if source == "asset":
                return await self._name_of(value["asset"])
            return await self._kept(await self._received(source, value))
        except NotAllowed as error:
            self.wrong.append(Wrong(node_id, port, "input_url_refused", str(error)))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = f"{value.get('url')!r:.200} could not be fetched: {error or type(error).__name__}"
            self.wrong.append(Wrong(node_id, port, "input_fetch_failed", text))
        except _NotUsable as error:
            self.wrong.append(Wrong(node_id, port, error.code, str(error)))
        return None

    async def _received(self, source: str, value: Mapping[str, Any]) -> Received:
        name = str(value.get("filename") or "")
        if source == "upload":
            part = self.uploads.get(str(value["upload"]))
            if part is None:
                raise _NotUsable("invalid_inputs", f"the request has no file part {value['upload']!r}")
            return part
        if source == "url":
            return await self._fetched(value["url"], name)
        try:
            data, kind = decoded(str(value["base64"]))
        except ValueError as error:
            raise _NotUsable("invalid_inputs", f"no valid base64: {error}") from error
        return await asyncio.to_thread(self._written, data, name or "input.bin", kind)

    def _written(self, data: bytes, name: str, kind: str) -> Received:
        receiving = Receiving(self.assets.folder)
        try:
            receiving.write(data)
            return receiving.end(name, kind)
        finally:
            receiving.abandon()

    async def _kept(self, received: Received) -> str:
        try:
            name = await asyncio.wrap_future(self.assets.hold(received))
        finally:
            received.discard()
        self.hashes.add(received.hash)
        return name

    async def _name_of(self, id: Any) -> str:
        asset = await asyncio.to_thread(self.assets.get, id) if isinstance(id, str) else None
        if asset is None:
            raise _NotUsable("missing_asset", f"there is no asset {id!r:.80}; upload it first")
        try:
            name, digest = await asyncio.to_thread(self.assets.as_input, asset)
        except Gone as error:
            raise _NotUsable("asset_gone", f"{error}; upload it again") from error
        self.hashes.add(digest)
        return name

    async def _resolved(self, node_id: str, port: str, value: Any) -> Any:
        """A value with every reference to an asset in it replaced by the name of its file."""
        if isinstance(value, list):
            return [await self._resolved(node_id, port, v) for v in value]
        if not isinstance(value, dict):
            return value
        if value.get("__type") != ASSET:
            return {k: await self._resolved(node_id, port, v) for k, v in value.items()}
        info = value.get("info")
        id = info.get("id") if isinstance(info, dict) else None
        try:
            return await self._name_of(id)
        except _NotUsable as error:
            self.wrong.append(Wrong(node_id, port, error.code, str(error)))
        return None

    async def _fetched(self, text: Any, name: str) -> Received:
        """Fetch a file from an allowed host, within the limits of time and size.

        Raises:
            NotAllowed: Its host, or one that it sends to, is not allowed.
        """
        server = self.state.server
        hosts = Hosts(server.input_urls, public=False, setting="input_urls")
        url = first = hosts.checked(text)
        async with hosts.session(FETCH_S) as session:
            for _ in range(MOST_HOPS):
                async with session.get(url, allow_redirects=False) as response:
                    if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                        url = hosts.checked(str(url.join(URL(response.headers["Location"]))))
                        if url.host != first.host or (first.scheme, url.scheme) == ("https", "http"):
                            raise NotAllowed(f"{first.host!r} sends to another host, {url.host!r}")
                        continue
                    if response.status != 200:
                        raise _NotUsable("input_fetch_failed", f"{text!r:.200} answers {response.status}")
                    return await self._body(response, name or url.name or "input.bin")
        raise _NotUsable("input_fetch_failed", f"{text!r:.200} sends on more than {MOST_HOPS} times")

    async def _body(self, response: aiohttp.ClientResponse, name: str) -> Received:
        most = int(self.state.server.max_upload_mb * 2**20)
        receiving = await asyncio.to_thread(Receiving, self.assets.folder)
        try:
            async for chunk in response.content.iter_chunked(CHUNK):
                if receiving.size + len(chunk) > most:
                    raise _NotUsable("too_large", f"it is larger than {most:,} bytes (max_upload_mb)")
                await asyncio.to_thread(receiving.write, chunk)
            return await asyncio.to_thread(receiving.end, name, response.content_type)
        finally:
            receiving.abandon()

    def _refused(self) -> Refused:
        first = self.wrong[0]
        errors: dict[str, list[dict[str, str]]] = {}
        for wrong in self.wrong:
            entry = {"field": wrong.input, "reason": wrong.code, "message": wrong.message}
            errors.setdefault(wrong.node_id, []).append(entry)
        text = f"node {first.node_id}, {first.input}: {first.message}"
        return Refused(422, first.code, text, node_errors=errors, node_id=first.node_id, field=first.input)


class _NotUsable(Exception):
    """An input that cannot be had.

    Args:
        code: What programs call it.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def decoded(text: str) -> tuple[bytes, str]:
    """The bytes of a base64 text, and their media type where it is a `data:` URL.

    Raises:
        ValueError: It is no base64.
    """
    start = _DATA_URL.match(text)
    data = "".join(text[start.end() if start else 0 :].split())
    try:
        return base64.b64decode(data, validate=True), start[1] if start else ""
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _may_refer(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not is_link(value))


def _source(value: Any) -> str | None:
    """Where a value comes from, if it is no plain one: `{"base64": …}`, `{"url": …}` and so on."""
    if not isinstance(value, dict) or not value.keys() <= {*SOURCES, "filename"}:
        return None
    found = [s for s in SOURCES if s in value]
    return found[0] if len(found) == 1 else None

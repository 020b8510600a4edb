"""Bodies of requests: read within limits, decoded once, told in full what is wrong with them."""

import json
import re
from typing import Any

from aiohttp import web

MAX_DEPTH = 200
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Refused(Exception):
    """A request that is answered with a 4xx.

    Args:
        code: The error's type, for programs.
        message: What is wrong, and what to do.
    """

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        self.status, self.code, self.message, self.details = status, code, message, details
        super().__init__(message)


async def read_body(request: web.Request, megabytes: float) -> bytes:
    """The body of a request.

    Raises:
        Refused: 413, it is larger than allowed; nothing more than the limit was read.
    """
    most = int(megabytes * 2**20)
    if (request.content_length or 0) > most:
        raise _too_large(megabytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_chunked(2**16):
        size += len(part)
        if size > most:
            raise _too_large(megabytes)
        parts.append(part)
    return b"".join(parts)


def decoded(body: bytes) -> Any:
    """The JSON of a body, whatever its content type says.

    Raises:
        Refused: 400, it is no JSON, or nested too deeply.
    """
    if depth_of(body) > MAX_DEPTH:
        raise Refused(400, "too_deep", f"the JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalid_json", f"the body is no valid JSON: {error}") from error


async def read_json(request: web.Request, megabytes: float, default: Any = None) -> Any:
    """The decoded body; the default where it is empty.

    Raises:
        Refused: As `read_body` and `decoded`.
    """
    body = await read_body(request, megabytes)
    return decoded(body) if body.strip() or default is None else default


async def read_object(request: web.Request, megabytes: float = 1.0) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object.

    Raises:
        Refused: As `read_json`; 400 if it is no object.
    """
    found = await read_json(request, megabytes, default={})
    if not isinstance(found, dict):
        raise Refused(400, "invalid_json", f"the body is a JSON object, found {type(found).__name__}")
    return found


def depth_of(body: bytes) -> int:
    """How deeply the brackets of a JSON text are nested; brackets within strings do not count.

    Works on the bytes outside of strings only, so that 64 MB take about a second and no recursion.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for char in _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS):
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _too_large(megabytes: float) -> Refused:
    return Refused(413, "too_large", f"the body is larger than {megabytes:g} MB")

"""Bodies of requests: read within limits, decoded once, told in full what is wrong with them."""

import json
import re
from typing import Any

from aiohttp import web

from engine.nesting import MAX_DEPTH, depth_of, is_flat, marks_of

MAX_VALUES = 2_000_000
"""Lists, objects and entries of one body: each takes some fifty bytes once decoded, and two when sent."""
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]")


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
        Refused: 400, it is no JSON, nested too deeply, or holds what is no text; 413, it has too many values.
    """
    quotes = body.count(b'"') - body.count(b'\\"')
    marks = b"" if quotes > 4 * MAX_VALUES else _marks(body)
    if quotes > 4 * MAX_VALUES or len(marks) > MAX_VALUES:
        raise Refused(413, "too_large", f"the JSON has more than {MAX_VALUES:,} values")
    if depth_of(marks) > MAX_DEPTH:
        raise Refused(400, "too_deep", f"the JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        found = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalid_json", f"the body is no valid JSON: {error}") from error
    if _HALVES.search(body) and (where := _half(found)):
        raise Refused(400, "invalid_text", f"{where} holds half of a character (a lone surrogate)")
    return found


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


def _marks(body: bytes) -> bytes:
    """The brackets and commas of a JSON text that stand outside of its strings; none if there are few."""
    if is_flat(body) and body.count(b",") <= MAX_VALUES - MAX_DEPTH:
        return b""
    return marks_of(body)


def _half(found: Any) -> str:
    """Where in decoded JSON there is half of a surrogate pair, as `prompt.4.inputs.text`; "" if nowhere."""
    stack = [("", found)]
    while stack:
        where, value = stack.pop()
        if isinstance(value, str) and not _whole(value):
            return where or "the body"
        if isinstance(value, dict):
            if not all(map(_whole, value)):
                return f"a name in {where or 'the body'}"
            stack += [(f"{where}.{k}" if where else k, v) for k, v in value.items()]
        elif isinstance(value, list):
            stack += [(f"{where}[{i}]", v) for i, v in enumerate(value)]
    return ""


def _whole(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _too_large(megabytes: float) -> Refused:
    return Refused(413, "too_large", f"the body is larger than {megabytes:g} MB")

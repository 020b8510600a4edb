"""Uploads: pictures into the input, output or temp folder, and masks joined to a picture that is there."""

import asyncio
import filecmp
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from engine.drafts import draft
from engine.files import Files
from server.drafts import disk_answers, publish
from server.paths import Refused, annotated, folder_of, found, path_in, plain_name
from server.pictures import BadPicture, TooLarge, in_turn, masked
from server.state import state_of

_MOST_PARTS = 1_000
_FIELD_BYTES = 64 * 2**10
_MOST_COPIES = 10_000
_BROKEN = (
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
    HttpProcessingError,
    web.RequestPayloadError,
)


async def upload_image(request: web.Request) -> web.StreamResponse:
    """Keep a file; the answer says under which name, which is another where the name is taken."""
    files = state_of(request).files
    received = await asyncio.to_thread(_empty_draft, files)
    try:
        fields, filename = await _received(request, received)
        return web.json_response(await asyncio.to_thread(_kept, files, received, filename, fields))
    finally:
        received.unlink(missing_ok=True)


async def upload_mask(request: web.Request) -> web.StreamResponse:
    """Keep a picture that is there, with the alpha channel of the uploaded one, as a new PNG."""
    state = state_of(request)
    received = await asyncio.to_thread(_empty_draft, state.files)
    try:
        fields, filename = await _received(request, received)
        original = await asyncio.to_thread(_original, state.files, fields.get("original_ref", ""))
        if original is not None:
            max_pixels = int(state.server.max_megapixels * 1e6)
            try:
                joined = await in_turn(masked, original, received, max_pixels)
            except TooLarge as error:
                raise web.HTTPRequestEntityTooLarge(max_pixels, 0, text=f"{error}") from error
            except BadPicture as error:
                raise web.HTTPBadRequest(text=f"{error}") from error
            await asyncio.to_thread(received.write_bytes, joined)
        kept = await asyncio.to_thread(_kept, state.files, received, filename, fields, original is not None)
        return web.json_response(kept)
    finally:
        received.unlink(missing_ok=True)


def _empty_draft(files: Files) -> Path:
    folder = files.folders["input"][0]
    with disk_answers():
        folder.mkdir(parents=True, exist_ok=True)
        return draft(folder, "", b"")


async def _received(request: web.Request, into: Path) -> tuple[dict[str, str], str]:
    """The form's fields, and the file name of its part `image`, whose bytes are written to `into`."""
    limit = int(state_of(request).server.max_upload_mb * 2**20)
    if (request.content_length or 0) > limit + _FIELD_BYTES:
        raise _too_large(limit)
    if request.content_type != "multipart/form-data":
        raise web.HTTPBadRequest(text="send a form (multipart/form-data) with a file in the part `image`")
    fields: dict[str, str] = {}
    filename: str | None = None
    try:
        reader = await request.multipart()
        for count in itertools.count(1):
            part = await reader.next()
            if part is None:
                break
            if count > _MOST_PARTS or not isinstance(part, BodyPartReader):
                raise web.HTTPBadRequest(text=f"at most {_MOST_PARTS:,} plain parts are taken")
            if part.name == "image" and filename is None:
                filename = part.filename or ""
                with into.open("wb") as file, disk_answers():
                    async for chunk in _chunks(request, part, limit):
                        await asyncio.to_thread(file.write, chunk)
            else:
                text = await _text(request, part, limit)
                fields.setdefault(part.name or "", text)
    except _BROKEN as error:
        raise web.HTTPBadRequest(text=f"the form is damaged: {error}") from error
    if not filename:
        raise web.HTTPBadRequest(text="the part `image` with a file name is missing")
    return fields, filename


async def _chunks(request: web.Request, part: BodyPartReader, limit: int) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(2**18):
        if request.content.total_bytes > limit + _FIELD_BYTES:
            raise _too_large(limit)
        yield bytes(chunk)


async def _text(request: web.Request, part: BodyPartReader, limit: int) -> str:
    kept = bytearray()
    async for chunk in _chunks(request, part, limit):
        kept += chunk
        if len(kept) > _FIELD_BYTES:
            raise web.HTTPBadRequest(text=f"a field of the form has more than {_FIELD_BYTES:,} bytes")
    return kept.decode()


def _too_large(limit: int) -> web.HTTPRequestEntityTooLarge:
    text = f"the upload has more than {limit:,} bytes (max_upload_mb)"
    return web.HTTPRequestEntityTooLarge(limit, 0, text=text)


def _kept(
    files: Files, received: Path, filename: str, fields: dict[str, str], write: bool = True
) -> dict[str, str]:
    """Give what was received a free name, or find it there already; how clients name it."""
    type, overwrite = fields.get("type") or "input", fields.get("overwrite") in ("true", "1")
    try:
        root = folder_of(files, type)
        folder = path_in(root, fields.get("subfolder", ""))
        plain_name(filename)
        subfolder = folder.relative_to(root.resolve()).as_posix()
        subfolder = "" if subfolder == "." else subfolder
        ours = files.items.get(type, {}) if not subfolder else {}
        if write:
            with disk_answers():
                folder.mkdir(parents=True, exist_ok=True)
        name = filename
        for number in range(1, _MOST_COPIES):
            path = path_in(folder, name)
            if not write or _named(received, path, ours.get(name), overwrite):
                return {"name": name, "subfolder": subfolder, "type": type}
            parts = PurePosixPath(filename)
            name = f"{parts.stem} ({number}){parts.suffix}"
    except Refused as error:
        raise web.HTTPBadRequest(text=f"{error}") from error
    raise web.HTTPBadRequest(text=f"there are {_MOST_COPIES:,} files of this name; choose another")


def _named(received: Path, path: Path, ours: Path | None, overwrite: bool) -> bool:
    """Whether the content now stands under this name; one that comes with the program is not given away."""
    if ours is not None:
        return filecmp.cmp(received, ours, shallow=False)
    with disk_answers():
        if overwrite and not path.is_dir():
            publish(received, path, overwrite=True)
            return True
        if not path.exists():
            try:
                publish(received, path, overwrite=False)
                return True
            except FileExistsError:  # another upload was quicker
                pass
        return path.is_file() and filecmp.cmp(received, path, shallow=False)


def _original(files: Files, text: str) -> Path | None:
    """The picture that `original_ref` names, None where it is not there."""
    try:
        named = json.loads(text)
        filename, type = annotated(named["filename"])
        type, subfolder = type or named.get("type", "output"), named.get("subfolder") or ""
        if not filename or not isinstance(type, str) or not isinstance(subfolder, str):
            raise TypeError
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        text = 'original_ref has to be JSON like {"filename": "a.png", "type": "input", "subfolder": ""}'
        raise web.HTTPBadRequest(text=text) from error
    try:
        return found(files, type, subfolder, filename)
    except Refused as error:
        raise web.HTTPBadRequest(text=f"original_ref: {error}") from error


ROUTES = (web.post("/upload/image", upload_image), web.post("/upload/mask", upload_mask))

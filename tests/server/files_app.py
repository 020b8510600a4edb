"""A server of the file routes alone, over folders of its own; and pictures to send to it."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
from aiohttp import FormData, web

from engine.registry import Pack, Registry
from server.app import twinned
from server.config import ServerSettings
from server.guard import errors
from server.logs import LOG_LINES, LogLines
from server.routes import internal, models, upload, userdata, view
from server.state import STATE, State
from tests.server.states import state_at

ROUTES = (*view.ROUTES, *upload.ROUTES, *models.ROUTES, *userdata.ROUTES, *internal.ROUTES)


class RecordingHub:
    """Keeps what was sent, for `LogLines`, which needs no more of a hub."""

    def __init__(self) -> None:
        self.sent: list[tuple[str | None, str, Mapping[str, Any]]] = []

    def send(self, sid: str | None, type: str, data: Mapping[str, Any]) -> None:
        self.sent.append((sid, type, data))


def files_state(base: Path, items: Mapping[str, Mapping[str, Path]] | None = None, **limits: Any) -> State:
    hub: Any = RecordingHub()
    state = state_at(base, Registry(packs=(Pack("toys", (), items or {}),)), hub=hub)
    return replace(state, server=ServerSettings(**limits))


def files_app(state: State) -> web.Application:
    app = web.Application(middlewares=[errors])
    app[STATE] = state
    app[LOG_LINES] = LogLines()
    app.add_routes(list(twinned(ROUTES)))
    return app


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 6), kind: str = "PNG", **how: Any) -> bytes:
    out = io.BytesIO()
    colour: Any = (200, 30, 60, 128)[: len(PIL.Image.new(mode, (1, 1)).getbands())]
    PIL.Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(out, kind, **how)
    return out.getvalue()


def opened(data: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(data))


def form(content: bytes, filename: str = "u.png", part: str = "image", **fields: str) -> FormData:
    data = FormData(quote_fields=False)
    body: Any = io.BytesIO(content) if len(content) > 2**20 else content  # aiohttp warns of large bytes
    data.add_field(part, body, filename=filename, content_type="application/octet-stream")
    for name, value in fields.items():
        data.add_field(name, value)
    return data

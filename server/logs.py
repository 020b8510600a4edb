"""The log as clients see it: its last lines, lines as they come for those who subscribe, and as JSON."""

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

LINES = 300
"""Lines that are kept."""
_MOST_SUBSCRIBERS = 1_000
_LONGEST = 16 * 2**10
"""Characters of one line that are kept."""

Send = Callable[[str | None, str, Mapping[str, Any]], None]


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


class LogLines(logging.Handler):
    """The last lines of the log; those who subscribe are sent new ones. Add it to the root logger."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self._kept: deque[dict[str, str]] = deque(maxlen=LINES)
        self._unsent: list[dict[str, str]] = []
        self._subscribers: dict[str, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._send: Send | None = None
        self._sending: int | None = None

    @property
    def entries(self) -> list[dict[str, str]]:
        """The lines that are kept, each with its time `t` and text `m`."""
        with self._locked():
            return list(self._kept)

    def subscribe(self, client_id: str, send: Send) -> None:
        """Have new lines sent to a client; called on the event loop, as `send` will be."""
        with self._locked():
            self._loop, self._send = asyncio.get_running_loop(), send
            self._subscribers[client_id] = None
            if len(self._subscribers) > _MOST_SUBSCRIBERS:
                del self._subscribers[next(iter(self._subscribers))]

    def unsubscribe(self, client_id: str) -> None:
        """Send no more lines to a client."""
        with self._locked():
            self._subscribers.pop(client_id, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line and have it sent; may be called on any thread."""
        try:
            text = self.format(record)[:_LONGEST] + "\n"
        except (TypeError, ValueError):  # a message whose arguments do not fit
            self.handleError(record)
            return
        entry = {"t": datetime.fromtimestamp(record.created).isoformat(), "m": text}
        self._kept.append(entry)
        if not self._subscribers or self._loop is None or self._sending == threading.get_ident():
            return  # what sending itself logs is not sent
        self._unsent.append(entry)
        if len(self._unsent) == 1 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._locked():
            entries, self._unsent = self._unsent[-LINES:], []
            subscribers, send = list(self._subscribers), self._send
        self._sending = threading.get_ident()
        try:
            for client_id in subscribers:
                if send is not None:
                    send(client_id, "logs", {"entries": entries, "size": None})
        finally:
            self._sending = None

    def _locked(self) -> threading.RLock:
        assert self.lock is not None
        return self.lock


LOG_LINES = web.AppKey("log_lines", LogLines)

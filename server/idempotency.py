"""`Idempotency-Key`: a request sent twice is answered twice and done once; across restarts, for a day."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from blake3 import blake3
from sqlalchemy import Connection, delete, select

from server.queue.store import Queue
from server.queue.tables import answers
from server.wire import Refused

KEPT_S = 86_400.0
"""Seconds that an answer is kept."""
LONGEST = 255


class Keys:
    """The keys of requests that are being answered by this process."""

    def __init__(self) -> None:
        self._busy: set[tuple[str, str]] = set()

    @contextmanager
    def held(self, request: web.Request, route: str) -> Iterator["Once"]:
        """Hold the key of a request, if it has one, while it is answered.

        Raises:
            Refused: 409, another request with this key is being answered; 400, it is no key.
        """
        key = request.headers.get("Idempotency-Key")
        if key is None:
            yield Once("", route)
            return
        if not 0 < len(key) <= LONGEST or not (key.isascii() and key.isprintable()):
            text = f"Idempotency-Key has 1 to {LONGEST} printable ASCII characters"
            raise Refused(400, "invalid_request", text)
        if (route, key) in self._busy:
            raise under_way()
        self._busy.add((route, key))
        try:
            yield Once(key, route)
        finally:
            self._busy.discard((route, key))


@dataclass(frozen=True)
class Once:
    """A request's key; without one ("") nothing is looked up or recorded."""

    key: str
    route: str

    def answered(self, queue: Queue, digest: str) -> web.Response | None:
        """The answer that was given to this key, if there is one.

        Args:
            digest: Of the request's body.

        Raises:
            Refused: 422, it was given to another body.
        """
        if not self.key:
            return None
        young = answers.c.created >= time.time() - KEPT_S
        question = select(answers).where(*self._mine, young)
        row = queue.read(lambda connection: connection.execute(question).mappings().one_or_none())
        if row is None:
            return None
        if row["body"] != digest:
            text = "this Idempotency-Key was used with another body; take a new key for another request"
            raise Refused(422, "idempotency_key_reuse", text)
        headers = {"Idempotency-Replayed": "true"}
        return web.Response(
            body=row["answer"], status=row["status"], content_type="application/json", headers=headers
        )

    def record(self, connection: Connection, digest: str, status: int, answer: Any) -> None:
        """Record the answer, within the transaction that does what was asked for.

        Raises:
            IntegrityError: Another process was quicker; nothing of the transaction may be kept.
        """
        if not self.key:
            return
        now = time.time()
        connection.execute(delete(answers).where(answers.c.created < now - KEPT_S))
        row = {"key": self.key, "route": self.route, "body": digest, "status": status, "created": now}
        connection.execute(answers.insert().values(row | {"answer": json.dumps(answer).encode()}))

    @property
    def _mine(self) -> tuple[Any, Any]:
        return answers.c.key == self.key, answers.c.route == self.route


def digest_of(*parts: Any) -> str:
    """What tells bodies apart: equal for equal JSON, whatever the order of its keys."""
    return blake3(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def under_way() -> Refused:
    """The refusal of a request whose twin is being answered."""
    text = "a request with this Idempotency-Key is being answered; ask again in a second"
    return Refused(409, "idempotency_conflict", text)

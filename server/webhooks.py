"""Webhooks: a job's end is told to a URL, signed, as often as needed and never on a worker's path."""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from server.outward import Hosts, NotAllowed
from server.queue.jobs import Ending, Job
from server.queue.tables import webhooks
from server.state import State
from server.wire import Refused

log = logging.getLogger(__name__)
EVENTS = ("succeeded", "failed", "canceled")
WAITS_S = (5, 30, 120, 600, 3_600, 10_800)
"""Seconds after each failed delivery; after the last it is given up."""
TIMEOUT_S = 10.0
AT_ONCE = 8
LOOK_S = 5.0
KEPT_S = 7 * 86_400.0
"""Seconds that the outcome of a delivery is kept."""
_CLAIM_S = 60.0


class Webhooks:
    """Delivers what the queue's transactions have put down to be delivered."""

    def __init__(self, state: State, waits: tuple[float, ...] = WAITS_S) -> None:
        self._state, self._waits = state, waits
        self._hosts = hosts_of(state)
        self._wake = asyncio.Event()
        self.delivered = 0
        state.workers.listeners.append(self._ended)

    async def run(self) -> None:
        """Deliver until cancelled; whatever goes wrong with one, or with the database, this goes on."""
        async with self._hosts.session(TIMEOUT_S) as session:
            under_way: set[asyncio.Task[None]] = set()
            try:
                while True:
                    self._wake.clear()
                    for row in await self._claimed_if_it_can(AT_ONCE - len(under_way)):
                        task = asyncio.get_running_loop().create_task(self._deliver(session, row))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                        task.add_done_callback(lambda _: self._wake.set())
                    pause = await self._pause()
                    with contextlib.suppress(TimeoutError):  # Python 3.11's `wait_for` may lose a cancel
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
            finally:
                for task in under_way:
                    task.cancel()

    def _ended(self, job: Job, ending: Ending) -> None:
        del ending
        if "webhook" in job.options:
            self._wake.set()

    async def _pause(self) -> float:
        """Seconds until one is due, at most `LOOK_S`: other processes and cancelled jobs add some too."""
        question = select(func.min(webhooks.c.next))
        with contextlib.suppress(SQLAlchemyError):
            due: float | None = await asyncio.to_thread(self._state.queue.read, lambda c: c.scalar(question))
            if due is not None:
                return min(LOOK_S, max(0.02, due - time.time()))
        return LOOK_S

    async def _claimed_if_it_can(self, most: int) -> list[Mapping[str, Any]]:
        """The deliveries that are due; none where the database cannot say: they stay there for later."""
        try:
            return await self._claimed(most)
        except Exception as error:  # whatever it is, deliveries must go on
            log.warning("the webhooks that are due cannot be read, trying on: %s", error)
            return []

    async def _claimed(self, most: int) -> list[Mapping[str, Any]]:
        """Deliveries that are due; nobody else gets them while they are under way."""
        if most <= 0:
            return []
        now = time.time()
        due = select(webhooks.c.id).where(webhooks.c.next <= now).order_by(webhooks.c.next).limit(most)
        if not await asyncio.to_thread(self._state.queue.read, lambda c: c.scalar(due)):
            return []
        still = webhooks.c.next <= now  # looked at again where another server has claimed it meanwhile
        claim = update(webhooks).where(webhooks.c.id.in_(due), still).values(next=now + _CLAIM_S)
        old = delete(webhooks).where(webhooks.c.next.is_(None), webhooks.c.created < now - KEPT_S)

        def write(connection: Connection) -> list[Mapping[str, Any]]:
            connection.execute(old)
            return [dict(r) for r in connection.execute(claim.returning(*webhooks.c)).mappings()]

        return await asyncio.wrap_future(self._state.queue.writer.submit(write, durable=False))

    async def _deliver(self, session: aiohttp.ClientSession, row: Mapping[str, Any]) -> None:
        """Try once, and note what came of it."""
        outcome, done = "", False
        try:
            url = self._hosts.checked(row["url"])
            body = row["body"].encode()
            headers = headers_of(row, body, int(time.time()), self._state.server.webhook_secret)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                outcome = f"answered {response.status}"
                done = 200 <= response.status < 300 or response.status == 410
                self.delivered += done
        except NotAllowed as error:
            outcome, done = f"refused: {error}", True
        except Exception as error:  # whatever a stranger's server does must not end this
            outcome = f"{type(error).__name__}: {error}"[:300]
        attempts = row["attempts"] + 1
        after = None if done or attempts > len(self._waits) else time.time() + self._waits[attempts - 1]
        if not outcome.startswith("answered 2"):
            what = "will be tried again" if after else "is given up"
            log.warning("the webhook of job %s %s: %s", row["job_id"], what, outcome)
        change = update(webhooks).where(webhooks.c.id == row["id"])
        change = change.values(attempts=attempts, next=after, outcome=outcome)
        with contextlib.suppress(SQLAlchemyError):  # it is delivered once more, which receivers bear
            await asyncio.wrap_future(self._state.queue.writer.submit(lambda c: c.execute(change) and None))


def hosts_of(state: State) -> Hosts:
    """Where webhooks may go: to public addresses, and to the hosts of the setting."""
    return Hosts(state.server.webhook_hosts, public=True, setting="webhook_hosts")


def headers_of(row: Mapping[str, Any], body: bytes, now: int, secret: str | None) -> dict[str, str]:
    """The headers of a delivery, as standardwebhooks.com has them; signed where there is a secret."""
    id = f"msg_{row['id']}_{int(row['created'] * 1000)}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "latentgraph-webhooks/1",
        "webhook-id": id,
        "webhook-timestamp": str(now),
    }
    key = row["secret"] or secret
    if key:
        headers["webhook-signature"] = f"v1,{signature(key, id, now, body)}"
    return headers


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 of `id.timestamp.body` in base64; a secret `whsec_…` is base64 itself."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error, ValueError):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = f"{id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def webhook_of(state: State, asked: Any, base: str) -> dict[str, Any] | None:
    """The `webhook` of a submission as it is kept with the job.

    Raises:
        Refused: 422, it has not the form it must have, or its host is not allowed.
    """
    if asked is None:
        return None
    asked = {"url": asked} if isinstance(asked, str) else asked
    if not isinstance(asked, dict) or not asked.keys() <= {"url", "events", "secret"}:
        raise _refused('webhook is {"url": …, "events": […], "secret": …}, of which url is needed')
    events, secret = asked.get("events", list(EVENTS)), asked.get("secret")
    if not isinstance(events, list) or not events or not all(e in EVENTS for e in events):
        raise _refused(f"webhook.events is a list of some of {', '.join(EVENTS)}")
    if secret is not None and not (isinstance(secret, str) and 0 < len(secret) <= 256):
        raise _refused("webhook.secret is a text of 1 to 256 characters")
    try:
        url = hosts_of(state).checked(asked.get("url"))
    except NotAllowed as error:
        raise Refused(422, "webhook_refused", f"webhook.url: {error}") from error
    kept = {"url": str(url), "events": events, "base": base, "days": state.server.history_days}
    return kept | ({"secret": secret} if secret else {})


def _refused(text: str) -> Refused:
    return Refused(422, "invalid_request", text)

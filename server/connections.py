"""What a connection may take: how many there are, how long a head and a body may be on their way."""

import asyncio
import contextlib
import resource
from collections import Counter

from aiohttp import StreamReader, web
from aiohttp.typedefs import Handler, Middleware

from server.wire import Refused

HEAD_S = 25.0
"""Seconds from a connection's start, or from an answer's end, to the end of the next request's head."""
BODY_S = 30.0
"""Seconds within which a body that is not yet whole must have grown by `LEAST`."""
LEAST = 2**14
LINGER_S = 5.0
"""Seconds for which the rest of a refused body is still read, so that its sender sees the answer."""
FILES = 65_536
"""Files that may be open, where the system allows as many."""
KEPT_FREE = 256
"""Files that are left for pictures, models and the database."""


def make_runner(app: web.Application, head_s: float = HEAD_S) -> web.AppRunner:
    """A runner that ends connections which say nothing; call `limit_connections` once it is set up."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=1.0,
        keepalive_timeout=head_s,
        lingering_time=LINGER_S,
    )


def limit_connections(runner: web.AppRunner, most: int, of_one_peer: int) -> None:
    """Have connections closed at once that are too many, in all or of one address."""
    server = runner.server
    assert server is not None
    count: Counter[str] = Counter()
    made, lost = server.connection_made, server.connection_lost
    peers: dict[web.RequestHandler, str] = {}

    def count_made(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        made(handler, transport)
        name = transport.get_extra_info("peername")
        peers[handler] = peer = str(name[0]) if name else ""
        count[peer] += 1
        if len(peers) > most or count[peer] > of_one_peer:
            transport.abort()

    def count_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        lost(handler, exc)
        peer = peers.pop(handler, None)
        if peer is not None:
            count[peer] -= 1
            if not count[peer]:
                del count[peer]

    server.connection_made = count_made  # type: ignore[method-assign]
    server.connection_lost = count_lost  # type: ignore[method-assign]


def most_connections() -> tuple[int, int]:
    """How many connections there may be, in all and of one address, after asking for more open files."""
    now, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), hard))
        now = max(now, wanted)
    most = max(64, now - KEPT_FREE)
    return most, most // 2


def watch_bodies(seconds: float) -> Middleware:
    """The middleware that gives up requests whose body does not come on."""

    @web.middleware
    async def watched(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.can_read_body or request.content.is_eof():  # it came with its head
            return await handler(request)
        late = asyncio.timeout(None)
        try:
            async with late:
                watch = _Watch(request.content, late, seconds)
                try:
                    return await handler(request)
                finally:
                    watch.stop()
        except TimeoutError as error:
            if not late.expired():
                raise
            raise Refused(408, "body_late", f"no more of the body came for {seconds:g} s") from error

    return watched


class _Watch:
    """Looks now and then whether a body has grown; brings a timeout about where it has not."""

    def __init__(self, content: StreamReader, late: asyncio.Timeout, seconds: float) -> None:
        self._content, self._late, self._seconds = content, late, seconds
        self._loop = asyncio.get_running_loop()
        self._seen = content.total_bytes
        self._handle = self._loop.call_later(seconds, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._handle.cancel()

    def _look(self) -> None:
        if self._content.is_eof():
            return
        if self._content.total_bytes - self._seen < LEAST:
            self._late.reschedule(self._loop.time())
            return
        self._seen = self._content.total_bytes
        self._handle = self._loop.call_later(self._seconds, self._look)

"""Where the server may ask: public addresses, and private ones only by name."""

import ipaddress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer
from yarl import URL

from server.outward import Hosts, NotAllowed, all_public, is_public

PRIVATE = (
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "224.0.0.1",
    "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_told_from_public_ones(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    shown = f"[{address}]" if ":" in address else address
    with pytest.raises(NotAllowed):
        Hosts((), public=True, setting="s").checked(f"http://{shown}/x")
    with pytest.raises(NotAllowed):
        Hosts(("*",), public=False, setting="s").checked(f"http://{shown}/x")
    listed = URL(f"http://{shown}/").host or ""
    assert Hosts((listed,), public=False, setting="s").checked(f"http://{shown}/x")


def test_public_addresses_are_public() -> None:
    assert all_public(["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
    assert not all_public(["8.8.8.8", "10.0.0.1"])
    assert not all_public([])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "http://", "example.com", "http://a:b@example.com/", 5,
        None,
        "http://other.com/", "http://example.com.evil.com/", "http://notexample.com/", "gopher://example.com/",
        "http://example.com:99999/", "http://[::1/", "http://localhost/", "http://a.localhost:80/",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_not_asked(url: Any) -> None:
    with pytest.raises(NotAllowed):
        Hosts(("example.com", "*.example.org", "*host"), public=False, setting="input_urls").checked(url)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("example.com", "https://EXAMPLE.com/a.png"),
        ("example.com", "http://example.com.:8080/"),
        ("*.example.org", "https://cdn.example.org/"),
        ("localhost", "http://localhost:9000/"),
        ("localhost:9000", "http://localhost:9000/"),
        ("[::1]:80", "http://[::1]/"),
    ],
)
def test_what_is_listed_is_asked(listed: str, url: str) -> None:
    assert Hosts((listed,), public=False, setting="input_urls").checked(url)


def test_a_port_in_the_list_has_to_be_the_same() -> None:
    with pytest.raises(NotAllowed):
        Hosts(("localhost:9000",), public=False, setting="s").checked("http://localhost:9001/")


@pytest.mark.parametrize("host", ["localhost", "localtest.localhost", "2130706433", "0x7f000001"])
async def test_names_that_resolve_to_private_addresses_are_not_connected_to(
    aiohttp_server: AiohttpServer, host: str
) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", answer)])
    server = await aiohttp_server(app)
    async with Hosts((), public=True, setting="s").session(5) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://{host}:{server.port}/")
    assert asked == []
    trusted = Hosts(("localhost",), public=True, setting="s")
    url = f"http://localhost:{server.port}/"
    async with trusted.session(5) as session, session.get(url) as response:
        assert response.status == 200

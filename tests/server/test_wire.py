"""Bodies are refused before they take memory, with the limit in the text; what is decoded is sound text."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from engine.nesting import MAX_DEPTH
from server.wire import MAX_VALUES, Refused, decoded, read_json, read_object


def refused(body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        decoded(body)
    return caught.value


@pytest.mark.parametrize("depth", [1, 50, MAX_DEPTH])
def test_nesting_up_to_the_limit_is_decoded(depth: int) -> None:
    assert json.dumps(decoded(b"[" * depth + b"]" * depth)) == "[" * depth + "]" * depth


@pytest.mark.parametrize("body", [b"[" * 201 + b"]" * 201, b'{"a":' * 201 + b"1" + b"}" * 201, b"[" * 10**6])
def test_deeper_nesting_is_refused_with_the_limit(body: bytes) -> None:
    found = refused(body)
    assert found.status == 400
    assert f"{MAX_DEPTH} levels" in found.message


def test_brackets_within_strings_do_not_count() -> None:
    text = '[{"' * 1_000 + '\\"' + "[" * 1_000
    assert decoded(json.dumps([text, {text: [text]}]).encode()) == [text, {text: [text]}]


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * MAX_VALUES + b"1]",
        b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
        b'["' + b'","' * 2**23 + b'"]',
    ],
)
def test_more_values_than_allowed_are_refused_before_they_are_made(body: bytes) -> None:
    found = refused(body)
    assert found.status == 413
    assert f"{MAX_VALUES:,} values" in found.message


def test_long_texts_full_of_commas_and_quotes_are_no_values() -> None:
    text = ',"' * (2 * MAX_VALUES)
    assert decoded(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (rb'{"prompt_id": "\ud800"}', "prompt_id"),
        (rb'{"prompt": {"4": {"inputs": {"text": ["a", "\uDFFF"]}}}}', "prompt.4.inputs.text[1]"),
        (rb'{"prompt": {"\udc00": 1}}', "a name in prompt"),
        (rb'"\ud83d"', "the body"),
    ],
)
def test_half_of_a_character_is_refused_where_it_is(body: bytes, where: str) -> None:
    found = refused(body)
    assert found.status == 400
    assert found.message.startswith(f"{where} ")


def test_whole_characters_are_taken_escaped_or_not() -> None:
    assert decoded(rb'["\ud83d\ude00"]') == decoded('["😀"]'.encode()) == ["😀"]
    assert decoded(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nul", b"\xff", "[1]".encode("utf-16"), b"1" * 5_000, b'{"a" 1}']
)
def test_what_is_no_json_is_refused_and_says_why(body: bytes) -> None:
    found = refused(body)
    assert (found.status, found.code) == (400, "invalid_json")


# ---------------------------------------------------------------- over a connection


@pytest.fixture
async def client(aiohttp_client: Any) -> Any:
    async def handler(request: web.Request) -> web.Response:
        try:
            read = read_object if request.path == "/object" else read_json
            return web.json_response(await read(request, 0.25))
        except Refused as error:
            return web.json_response({"message": error.message}, status=error.status)

    app = web.Application()
    app.router.add_post("/json", handler)
    app.router.add_post("/object", handler)
    return await aiohttp_client(app)


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 65_536


async def test_a_body_that_says_it_is_too_large_is_refused_with_the_limit(client: Any) -> None:
    response = await client.post("/json", data=b" " * 300_000)
    assert response.status == 413
    assert "0.25 MB" in (await response.json())["message"]


async def test_a_chunked_body_without_a_length_is_refused_once_it_is_too_large(client: Any) -> None:
    response = await client.post("/json", data=chunks(8))
    assert response.status == 413
    assert "0.25 MB" in (await response.json())["message"]


async def test_a_body_within_the_limit_is_read_whichever_way_it_comes(client: Any) -> None:
    async def whole() -> AsyncIterator[bytes]:
        yield b'{"a":'
        yield b" 1}"

    assert await (await client.post("/json", data=whole())).json() == {"a": 1}
    assert await (await client.post("/json", data=b'{"a": 1}', headers={"Content-Type": "x/y"})).json() == {
        "a": 1
    }


async def test_an_object_may_be_left_out_but_must_be_one(client: Any) -> None:
    assert await (await client.post("/object", data=b"")).json() == {}
    assert (await client.post("/object", data=b"[1]")).status == 400


async def test_a_compressed_body_counts_as_it_is_unpacked(client: Any) -> None:
    import zlib

    bomb = zlib.compress(b" " * 50_000_000)
    response = await client.post("/json", data=bomb, headers={"Content-Encoding": "deflate"})
    assert response.status == 413

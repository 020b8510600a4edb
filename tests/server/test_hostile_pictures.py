import contextlib
import ctypes
import gc
import io
import random
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import psutil
import pytest
from aiohttp.test_utils import TestClient

from tests.server.files_app import files_app, files_state, form, picture

FORMS = ("preview=webp;80", "preview=jpeg;80&channel=rgb", "channel=rgb", "channel=a")
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF")
MEGABYTE = 2**20


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any) -> TestClient[Any, Any]:
    (tmp_path / "output").mkdir()
    client: TestClient[Any, Any] = await aiohttp_client(files_app(files_state(tmp_path)))
    return client


@contextlib.contextmanager
def grown() -> Iterator[Callable[[], float]]:
    """How many megabytes the process has grown by at most, watched every few milliseconds."""
    process = psutil.Process()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps what was freed, which would hide growth
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    start = highest = process.memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.003):
            highest = max(highest, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: (highest - start) / MEGABYTE
    finally:
        over.set()
        thread.join()


async def statuses(client: TestClient[Any, Any], base: Path, content: bytes) -> list[int]:
    """What is answered to an upload, to each form of looking at it, and to using it in a mask."""
    upload = await client.post("/upload/image", data=form(content, "h", overwrite="true"))
    found = [upload.status]
    for query in FORMS:
        answer = await client.get(f"/view?type=input&filename=h&{query}")
        await answer.read()
        found.append(answer.status)
    (base / "output" / "o.png").write_bytes(picture())
    for mask, original in ((content, '"o.png"'), (picture("RGBA"), '"h", "type": "input"')):
        data = form(mask, "m.png", original_ref=f'{{"filename": {original}}}', overwrite="true")
        found.append((await client.post("/upload/mask", data=data)).status)
    return found


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, colour: int = 2, data: bytes | None = None, *more: bytes) -> bytes:
    """A PNG; without data, one that claims its size and holds one row."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = zlib.compress(b"\0" * (1 + channels * min(width, 1000))) if data is None else data
    palette = chunk(b"PLTE", b"\0" * 6) if colour == 3 else b""
    body = chunk(b"IHDR", header) + palette + b"".join(more) + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def bomb(kind: bytes) -> bytes:
    """A compressed PNG chunk of 200 MB."""
    return chunk(kind, b"k\0\0" + zlib.compress(b"x" * 200 * MEGABYTE))


def black(width: int, height: int, colour: int = 2, *more: bytes) -> bytes:
    """A whole PNG of zeros: megabytes for hundreds of megapixels."""
    packer = zlib.compressobj(6)
    row = b"\0" * (1 + {0: 1, 2: 3, 3: 1, 6: 4}[colour] * width)
    return png(
        width, height, colour, b"".join(packer.compress(row) for _ in range(height)) + packer.flush(), *more
    )


def animated_png(frames: int) -> bytes:
    return png(8, 8, 2, None, chunk(b"acTL", struct.pack(">II", frames, 0)))


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of frames that are almost empty."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0" * 6 + frame * frames + b";"


def jpeg(width: int, height: int) -> bytes:
    """A small JPEG that claims another size."""
    data = picture(kind="JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp(width: int, height: int, frames: int = 0) -> bytes:
    """An extended WebP that claims a canvas, with frames of one small picture."""
    small = picture(kind="WEBP")[12:]
    head = struct.pack("<I", 0x02 if frames else 0) + (width - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", 10) + head + (height - 1).to_bytes(3, "little")
    if frames:
        chunks += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
        frame = struct.pack("<HBHB", 0, 0, 0, 0) + (7).to_bytes(3, "little") + (5).to_bytes(3, "little")
        frame += (1).to_bytes(3, "little") + b"\0" + small
        chunks += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    else:
        chunks += small
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiff(
    width: int, height: int, pages: int = 1, loop: bool = False, compression: int = 1, strip: int = 8
) -> bytes:
    """A TIFF whose pages share one strip; the last leads back to the first if wanted."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1)]
    tags += [(273, 4, strip), (277, 3, 1), (278, 4, height), (279, 4, 100)]
    length = 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    page = struct.pack("<H", len(tags)) + entries
    following = [108 + length * (number + 1) for number in range(pages - 1)] + [108 if loop else 0]
    head = b"II*\0" + struct.pack("<I", 108) + b"\0" * 100
    return head + b"".join(page + struct.pack("<I", place) for place in following)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + head + b"\0" * 1000


CLAIMS = {
    "png of 10 gigapixels": png(100_000, 100_000),
    "png of 4 gigapixels a side": png(2**31 - 1, 2**31 - 1),
    "png just above the limit": png(10_001, 10_000),
    "png of one row": png(2**31 - 1, 1),
    "png with an animation of 2 billion frames": animated_png(2**31 - 1),
    "png with an animation of 20 000 frames": animated_png(20_000),
    "gif of 4 gigapixels": gif(65_535, 65_535, 1),
    "gif of 100 frames of 2 megapixels": gif(2_000, 1_000, 100),
    "gif of 100 000 small frames": gif(1, 1, 100_000),
    "jpeg of 4 gigapixels": jpeg(65_500, 65_500),
    "jpeg of 102 megapixels": jpeg(10_200, 10_000),
    "webp of 268 megapixels": webp(16_384, 16_384),
    "webp of 26 megapixels held four times": webp(5_200, 5_000),
    "webp canvas of 200 terapixels": webp(2**24, 2**24),
    "webp of 5 000 frames of 64 kilopixels": webp(256, 256, 5_000),
    "tiff of 4 gigapixels": tiff(65_536, 65_536),
    "tiff of 200 pages of 1 megapixel": tiff(1_000, 1_000, 200),
    "tiff of 20 000 pages": tiff(1, 1, 20_000),
    "bmp of 900 megapixels": bmp(30_000, 30_000),
    "bmp of 2 gigapixels a side": bmp(2**31 - 1, 2**31 - 1),
    "ppm of 10 gigapixels": b"P6 99999 99999 255\n" + b"\0" * 100,
}
"""Files of a few kilobytes, or megabytes, that claim to be large; each has to be refused."""

BROKEN = {
    "nothing": b"",
    "text": b"not a picture",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "png without data": b"\x89PNG\r\n\x1a\n",
    "png of no pixels": png(0, 0),
    "png of 88 megapixels that ends early": png(9_400, 9_400),
    "png with a text of 200 megabytes": png(8, 8, 2, None, bomb(b"zTXt")),
    "png with a profile of 200 megabytes": png(8, 8, 2, None, bomb(b"iCCP")),
    "png with a chunk longer than the file": png(8, 8)[:33] + b"\xff\xff\xff\xffIDAT",
    "jpeg of 64 megapixels that ends early": jpeg(8_000, 8_000)[:-20],
    "webp of 20 megapixels that ends early": webp(5_000, 4_000)[:-10],
    "tiff whose pages go in a circle": tiff(8, 8, 2, loop=True),
    "tiff whose strip is elsewhere": tiff(8_000, 8_000, strip=2**31),
    "tiff of 64 megapixels, lzw of nothing": tiff(8_000, 8_000, compression=5),
    "tiff of 64 megapixels, deflate of nothing": tiff(8_000, 8_000, compression=8),
    "gif without frames": gif(8, 8, 0),
    "gif of blocks without end": gif(8, 8, 1)[:-6] + b"\xff" * 1_000_000,
    "bmp of negative size": bmp(-5, -5),
    "bmp of 60 megapixels, run lengths of nothing": bmp(7_800, 7_800, 8, 1),
    "ppm that ends early": b"P6 9000 9000 255\n",
    "ppm of a number without end": b"P6 " + b"9" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
async def test_a_picture_that_claims_too_much_is_refused_before_memory_is_taken(
    client: TestClient[Any, Any], tmp_path: Path, name: str
) -> None:
    with grown() as megabytes:
        upload, *looks = await statuses(client, tmp_path, CLAIMS[name])
    assert upload == 200
    assert set(looks) <= {400, 413}
    assert megabytes() < 60
    whole = await client.get("/view?type=input&filename=h")
    assert await whole.read() == CLAIMS[name]


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_picture_is_a_bad_request(
    client: TestClient[Any, Any], tmp_path: Path, name: str
) -> None:
    with grown() as megabytes:
        upload, *looks = await statuses(client, tmp_path, BROKEN[name])
    assert upload == 200
    assert set(looks) <= {200, 400, 413}
    assert megabytes() < 400


def damaged(kind: str) -> Iterator[bytes]:
    """A picture cut at many places, and with bytes changed at random."""
    how: dict[str, Any] = {"save_all": True, "append_images": [PIL.Image.new("RGB", (16, 12), "red")] * 3}
    frames = how if kind in ("GIF", "TIFF", "WEBP", "PNG", "AVIF") else {}
    whole = picture("RGB", (16, 12), kind, **frames)
    dice = random.Random(kind)
    for _ in range(20):
        yield whole[: dice.randrange(len(whole))]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 12)):
            data[dice.randrange(min(len(data), dice.choice((64, len(data)))))] = dice.randrange(256)
        yield bytes(data)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_damage_to_a_picture_is_answered_with_a_fault_of_ours(
    client: TestClient[Any, Any], tmp_path: Path, kind: str
) -> None:
    counts: dict[int, int] = {}
    with grown() as megabytes:
        for content in damaged(kind):
            (tmp_path / "output" / "d").write_bytes(content)
            for query in FORMS:
                answer = await client.get(f"/view?filename=d&{query}")
                counts[answer.status] = counts.get(answer.status, 0) + 1
    assert set(counts) <= {200, 400, 413}
    assert counts[400] > 20
    assert megabytes() < 600


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (lambda: black(9_400, 9_400), [200, 200, 413, 413, 413, 413]),
        (lambda: black(9_400, 9_400, 2, chunk(b"tRNS", b"\0" * 6)), [413] * 6),
        (lambda: black(9_400, 9_400, 0), [200, 200, 413, 413, 413, 413]),
        (lambda: black(9_400, 9_400, 3), [200, 200, 413, 413, 413, 413]),
        (lambda: black(7_050, 7_050, 6), [200, 200, 200, 200, 400, 400]),
        (lambda: picture("L", (9_400, 9_400), "JPEG"), [200, 200, 413, 413, 413, 413]),
        (lambda: picture("RGB", (5_000, 4_990), "WEBP", lossless=True), [200, 200, 413, 413, 413, 413]),
        (lambda: picture("RGB", (5_000, 3_990), "WEBP", lossless=True), [200, 200, 200, 200, 400, 400]),
        (lambda: picture("L", (5_700, 5_700), "GIF"), [200, 200, 413, 413, 413, 413]),
        (
            lambda: picture("RGB", (7_050, 7_050), "TIFF", compression="tiff_lzw"),
            [200, 200, 200, 200, 400, 400],
        ),
    ],
)
async def test_the_largest_pictures_take_less_than_600_megabytes(
    client: TestClient[Any, Any], tmp_path: Path, content: Callable[[], bytes], allowed: list[int]
) -> None:
    made = content()
    with grown() as megabytes:
        upload, *looks = await statuses(client, tmp_path, made)
    assert (upload, looks) == (200, allowed)
    assert megabytes() < 600


async def test_a_preview_of_a_wide_picture_fits_into_webp(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "output" / "w.png").write_bytes(picture("RGB", (40_000, 20)))
    answer = await client.get("/view?filename=w.png&preview=webp")
    assert PIL.Image.open(io.BytesIO(await answer.read())).size == (16_383, 8)

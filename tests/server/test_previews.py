"""Previews: encoded small, and framed as the classic socket has them."""

import io
import json
import struct

import numpy as np
import PIL.Image
import pytest

from server.previews import Picture, described, encoded, from_pack, plain


class Estimate:
    def picture(self) -> np.ndarray:
        return np.full((40, 80, 3), 200, np.uint8)


def opened(picture: Picture | None) -> PIL.Image.Image:
    assert picture is not None
    return PIL.Image.open(io.BytesIO(picture.data))


def test_an_estimate_becomes_a_small_jpeg() -> None:
    with opened(encoded(Estimate(), 20)) as image:
        assert (image.format, image.size) == ("JPEG", (20, 10))


@pytest.mark.parametrize(("name", "kind"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "jpeg")])
def test_what_a_pack_shows_keeps_its_size_and_kind(name: str, kind: str) -> None:
    shown = encoded((name, PIL.Image.new("RGBA", (900, 30)), None), 512)
    assert shown is not None
    assert shown.kind == kind
    with opened(shown) as image:
        assert image.size == (900, 30)


def test_what_a_pack_shows_is_shrunk_to_the_side_that_it_names() -> None:
    with opened(encoded(("JPEG", PIL.Image.new("RGB", (900, 30)), 90), 512)) as image:
        assert image.size == (90, 3)


def test_what_is_no_picture_is_not_shown() -> None:
    assert encoded({"a": 1}, 512) is None


def test_the_plain_frame_is_an_event_number_a_kind_and_the_file() -> None:
    assert plain(Picture("jpeg", b"xyz")) == struct.pack(">II", 1, 1) + b"xyz"
    assert plain(Picture("png", b"xyz")) == struct.pack(">II", 1, 2) + b"xyz"


def test_the_described_frame_names_the_node() -> None:
    frame = described(Picture("png", b"xyz"), {"node_id": "5"})
    event, length = struct.unpack(">II", frame[:8])
    assert event == 4
    assert json.loads(frame[8 : 8 + length]) == {"node_id": "5", "image_type": "image/png"}
    assert frame[8 + length :] == b"xyz"


def test_packs_send_bytes_and_pictures_by_event_number() -> None:
    assert from_pack(3, b"text", 512) == struct.pack(">I", 3) + b"text"
    sent = from_pack(2, ("PNG", PIL.Image.new("RGB", (4, 4)), None), 512)
    assert sent is not None
    assert sent[:8] == struct.pack(">II", 1, 2)
    assert from_pack(2, "nothing", 512) is None

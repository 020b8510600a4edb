"""Pictures from anywhere, re-encoded: size, frames and kind are checked before memory is taken."""

import asyncio
import io
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import PIL.Image
from PIL.PngImagePlugin import PngInfo

log = logging.getLogger(__name__)

T = TypeVar("T")
Source = Path | bytes
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF")
"""What is decoded; other formats of PIL run programs or are rarely looked after."""
MOST_FRAMES = 10_000
REDUCED = 16_000_000
"""Pixels above which a preview is made smaller."""
_COPIES = {"WEBP": 4, "AVIF": 3, "GIF": 3}
"""How often a decoder holds the picture while it decodes."""
_LEAN = ("1", "L", "P", "RGB", "I;16")
"""Modes that become a preview without a second whole copy."""
_WEBP_SIDE = 16_383
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="pictures")
"""One picture at a time, so that the memory they take does not add up and other work has its threads."""


class BadPicture(Exception):
    """A file that is not re-encoded, and why."""


class TooLarge(BadPicture):
    """A picture with more pixels than are decoded."""


async def in_turn(work: Callable[..., T], *args: Any) -> T:
    """What a call of this module gives, made when those before it are done."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work, *args)


def preview(source: Source, kind: str, quality: int, channel: str, max_pixels: int) -> tuple[bytes, str]:
    """A picture's first frame as WebP or JPEG, and its content type.

    Args:
        kind: "webp" or "jpeg"; anything else, or a channel with alpha, gives WebP.

    Raises:
        BadPicture: It cannot be read or has too many pixels.
    """
    kind = kind if kind in ("webp", "jpeg") and "a" not in channel else "webp"

    def encoded(picture: PIL.Image.Image) -> bytes:
        alpha = picture.has_transparency_data and kind != "jpeg" and channel != "rgb"
        mode = "RGBA" if alpha else "RGB"
        if picture.mode != mode:  # converting to its own mode would copy it
            picture = picture.convert(mode)
        if picture.width * picture.height > REDUCED:
            picture = picture.reduce(2 if picture.width * picture.height <= 4 * REDUCED else 4)
        if max(picture.size) > _WEBP_SIDE:
            picture.thumbnail((_WEBP_SIDE, _WEBP_SIDE))
        return _saved(picture, kind, quality=min(quality, 100))

    def copies(picture: PIL.Image.Image) -> int:
        return 1 if picture.mode in _LEAN and not picture.has_transparency_data else 2

    return _made(source, max_pixels, copies, encoded), f"image/{kind}"


def one_channel(source: Source, channel: Literal["rgb", "a"], max_pixels: int) -> bytes:
    """A PNG of the colours without alpha, or of the alpha channel over black (opaque where there is none).

    Raises:
        BadPicture: It cannot be read or has too many pixels.
    """

    def encoded(picture: PIL.Image.Image) -> bytes:
        if channel == "rgb":
            return _saved(picture.convert("RGB"), "PNG")
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else PIL.Image.new("L", picture.size, 255)
        over_black = PIL.Image.new("RGBA", picture.size)
        over_black.putalpha(alpha)
        return _saved(over_black, "PNG")

    return _made(source, max_pixels, _two, encoded)


def masked(original: Source, mask: Source, max_pixels: int) -> bytes:
    """A PNG of a picture with the alpha channel of another one of its size; its texts stay.

    Raises:
        BadPicture: One of them cannot be read or has too many pixels, or they differ in size.
    """
    alpha = _made(mask, max_pixels, _two, lambda picture: picture.convert("RGBA").getchannel("A"))

    def encoded(picture: PIL.Image.Image) -> bytes:
        if picture.size != alpha.size:
            sizes = "{} x {}, the picture {} x {}".format(*alpha.size, *picture.size)
            raise BadPicture(f"the mask has {sizes}; they must be equal")
        texts = PngInfo()
        for key, value in getattr(picture, "text", {}).items():
            texts.add_text(key, value)
        picture = picture.convert("RGBA")
        picture.putalpha(alpha)
        return _saved(picture, "PNG", compress_level=4, pnginfo=texts)

    return _made(original, max_pixels, _two, encoded)


def _two(_: PIL.Image.Image) -> int:
    return 2


def _made(
    source: Source,
    max_pixels: int,
    copies: Callable[[PIL.Image.Image], int],
    work: Callable[[PIL.Image.Image], T],
) -> T:
    """What `work` makes of a picture that keeps to the limits."""
    try:
        with _file(source) as file, PIL.Image.open(file, formats=FORMATS) as picture:
            _check(picture, file, max_pixels, copies(picture))
            return work(picture)
    except BadPicture:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as bomb:
        raise TooLarge(f"the picture is too large: {bomb}") from bomb
    except Exception as error:  # an edge: what damaged files make decoders raise is without bounds
        log.debug("unreadable picture: %r", error)
        raise BadPicture(f"the file is damaged or none of {', '.join(FORMATS)}") from error


def _file(source: Source) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _saved(picture: PIL.Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def _check(picture: PIL.Image.Image, file: IO[bytes], max_pixels: int, copies: int) -> None:
    size = picture.width * picture.height
    held = size * (copies + _COPIES.get(picture.format or "", 1) - 1)
    if held > max_pixels:
        raise TooLarge(
            f"the picture has {picture.width} x {picture.height} pixels and takes the memory of {held:,} "
            f"to be re-encoded; {max_pixels:,} are allowed (max_megapixels)"
        )
    frames, pixels = _frames(picture, file, min(MOST_FRAMES, max_pixels // max(size, 1)))
    if pixels > max_pixels or frames > MOST_FRAMES:
        raise TooLarge(
            f"the picture has {frames:,} frames or more of {picture.width} x {picture.height} pixels; "
            f"{max_pixels:,} pixels over all (max_megapixels) and {MOST_FRAMES:,} frames are allowed"
        )


def _frames(picture: PIL.Image.Image, file: IO[bytes], most: int) -> tuple[int, int]:
    """How many frames a picture has, counted up to one above `most`, and their pixels; none is decoded."""
    size = picture.width * picture.height
    if picture.format == "TIFF":  # pages have sizes of their own
        pages = pixels = 0
        while pages <= most:
            try:
                picture.seek(pages)
            except EOFError:
                break
            pages, pixels = pages + 1, pixels + picture.width * picture.height
        picture.seek(0)
        return pages, pixels
    if picture.format == "MPO":  # a JPEG with further views, which are not read
        return 1, size
    count = _gif_frames(file, most) if picture.format == "GIF" else getattr(picture, "n_frames", 1)
    return count, count * size


def _gif_frames(file: IO[bytes], most: int) -> int:
    """The image descriptors in a GIF (GIF89a, section 20), up to one above `most`."""
    place = file.tell()
    file.seek(10)
    flags = file.read(1)[0]
    file.seek(13 + _palette(flags))
    count = 0
    while count <= most and (block := file.read(1)) not in (b"", b";"):
        if block == b",":
            count += 1
            file.seek(_palette(file.read(9)[8]) + 1, io.SEEK_CUR)
        elif block == b"!":
            file.seek(1, io.SEEK_CUR)
        else:
            continue
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], io.SEEK_CUR)
    file.seek(place)
    return count


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

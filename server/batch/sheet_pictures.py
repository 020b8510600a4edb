"""The pictures of a batch as its contact sheet needs them: their sizes and thumbnails, one open at a time."""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import PIL.Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
GROUND = (231, 231, 228)
"""What shows through where a picture has alpha."""
_UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, MemoryError,
    PIL.Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A file as it was found: width and height of a picture in pixels, or 0 and what to say of it."""

    width: int = 0
    height: int = 0
    problem: str = ""


@dataclass
class Pictures:
    """The files in a folder."""

    folder: Path
    _seen: dict[str, Seen] = field(default_factory=dict)

    def seen(self, path: str) -> Seen:
        """What there is at a path below the folder."""
        if path not in self._seen:
            self.thumbnail(path, None)
        return self._seen[path]

    def first(self, paths: Sequence[str]) -> tuple[str, Seen] | None:
        """The file that stands for several: the first picture, else the first file; None where none is."""
        found = [(path, self.seen(path)) for path in paths]
        return next((pair for pair in found if pair[1].width), found[0] if found else None)

    def thumbnail(self, path: str, side: int | None) -> PIL.Image.Image | None:
        """The first frame in RGB, no larger than a square of `side` pixels; None if it is no picture.

        Args:
            side: None only looks at the size.
        """
        if PurePosixPath(path).suffix.lower() not in SUFFIXES:
            self._seen[path] = Seen()
            return None
        try:
            with _opened(self.folder / path) as picture:
                size = Seen(*picture.size)
                small = _in_rgb(picture, side) if side else None
        except _UNREADABLE as error:
            gone = isinstance(error, FileNotFoundError)
            self._seen[path] = Seen(problem="the file is gone" if gone else "cannot be read")
            return None
        self._seen.setdefault(path, size)
        return small


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about large or slightly damaged files
        with PIL.Image.open(path) as picture:
            yield picture


def _in_rgb(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    picture.draft("RGB", (side, side))  # JPEG alone can be decoded smaller
    small: PIL.Image.Image = picture
    if small.mode.startswith("I"):  # 16 bits, which `convert` would clip to 8
        small = small.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif small.mode == "F":
        small = small.point(lambda value: value * 255).convert("L")
    elif "transparency" in small.info or small.mode in ("PA", "La", "RGBa"):
        small = small.convert("RGBA")
    elif small.mode not in ("RGB", "RGBA", "L", "LA"):
        small = small.convert("RGB")
    small.thumbnail((side, side), reducing_gap=2.0)
    if "A" in small.mode:
        ground = PIL.Image.new("RGB", small.size, GROUND)
        ground.paste(small, mask=small.getchannel("A"))
        return ground
    return small.convert("RGB")

"""The contact sheet as pictures: pages of thumbnails under their labels, drawn with Pillow's own font."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image, ImageDraw, ImageFont

from server.batch.sheet_layout import Cell, Pairs, Section, Sheet
from server.batch.sheet_pictures import GROUND, Pictures
from server.batch.sheet_words import cut, one_line, wrapped

LARGEST = 256
"""Pixels of a thumbnail's longer side, at most."""
SMALLEST = 48
CELLS = 400
"""Cells on a page."""
ACROSS = 20
"""Columns of a block, at most; wider grids continue below."""
LONGEST_SIDE, MOST_PIXELS = 12_000, 40_000_000
MARGIN, GAP, APART = 20, 6, 26
SIZE, LINE = 12, 15
"""Of text: the font, and from line to line."""
CAPTION, HEAD, TITLE = 3, 2, 2
"""Lines of a caption below a picture, of a column's label, of a section's."""
LABEL = 150
"""Pixels of a row's label, at most."""
WHITE, INK, SOFT, BAD, BAD_GROUND = (
    (255, 255, 255),
    (29, 32, 35),
    (91, 97, 103),
    (163, 41, 31),
    (251, 233, 231),
)
BRIEF = 12
"""Characters of a value that says little without its name, at most."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Block:
    """A part of a section that is drawn as a whole: a grid with labels, or a run of cells with captions.

    Args:
        words: Pixels of the longest label that stands over or under a cell.
        aside: Pixels of the rows' labels.
    """

    labels: Pairs
    rows: tuple[Pairs, ...]
    columns: tuple[Pairs, ...]
    across: int
    cells: tuple[Cell, ...]
    words: int
    aside: int = 0

    @property
    def down(self) -> int:
        return -(-len(self.cells) // self.across)

    def size(self, side: int) -> tuple[int, int]:
        """Width and height in pixels, with thumbnails of that side."""
        words = self.lines(side) * LINE + GAP
        row = side + GAP + (0 if self.rows else words)
        width = self.across * (side + GAP) + self.aside
        return width, self.down * row + (words if self.rows else 0) + self.above

    def lines(self, side: int) -> int:
        """Lines of the labels over or under cells."""
        return min(HEAD if self.rows else CAPTION, math.ceil(1.2 * self.words / side))

    @property
    def above(self) -> int:
        return TITLE * LINE + GAP if self.labels else 0


@dataclass(frozen=True)
class _Page:
    """Blocks with their places."""

    side: int
    width: int
    height: int
    placed: tuple[tuple[int, int, _Block], ...]


def pages_of(sheet: Sheet, pictures: Pictures) -> Iterator[bytes]:
    """The pages of a sheet as PNG files, one after another."""
    blocks = [block for section in sheet.sections for block in _blocks(section)]
    shared = list(_shared_out(blocks))
    side = max((_natural(cell, pictures) for cell in sheet.cells[:CELLS]), default=LARGEST)
    for number, held in enumerate(shared, 1):
        page = _arranged(held, min(LARGEST, max(side, 2 * SMALLEST)))
        yield _Brush(page, pictures).drawn(_title(sheet, number, len(shared)))


def _natural(cell: Cell, pictures: Pictures) -> int:
    found = pictures.first(cell.paths)
    return max(found[1].width, found[1].height) if found else 0


def _title(sheet: Sheet, number: int, of: int) -> list[str]:
    given = ",  ".join(f"{name} {one_line(value)}" for name, value in sheet.constants)
    place = f"  (page {number} of {of})" if of > 1 else ""
    return [f"{sheet.summary}{place}".replace("×", "x"), *([given] if given else [])]


def _blocks(section: Section) -> Iterator[_Block]:
    if not section.rows:
        for start in range(0, len(section.cells), CELLS):
            cells = section.cells[start : start + CELLS]
            across = max(1, min(ACROSS, math.ceil(math.sqrt(1.5 * len(cells)))))
            yield _Block(section.labels, (), (), across, cells, _longest([cell.varied for cell in cells]))
        return
    width = len(section.columns)
    aside = min(LABEL, 10 + _longest(section.rows))
    for left in range(0, width, ACROSS):
        columns = section.columns[left : left + ACROSS]
        down = CELLS // len(columns)
        for top in range(0, len(section.rows), down):
            rows = section.rows[top : top + down]
            starts = [(top + i) * width + left for i in range(len(rows))]
            cells = tuple(c for s in starts for c in section.cells[s : s + len(columns)])
            yield _Block(section.labels, rows, columns, len(columns), cells, _longest(columns), aside)


def _shared_out(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """The blocks of each page."""
    page: list[_Block] = []
    for block in blocks:
        if page and sum(len(b.cells) for b in page) + len(block.cells) > CELLS:
            yield page
            page = []
        page.append(block)
    yield page


def _arranged(blocks: Sequence[_Block], side: int) -> _Page:
    """The blocks one beside the other in rows, in a page somewhat wider than high, within its limits."""
    while True:
        page = _in_rows(blocks, side)
        small = max(page.width, page.height) <= LONGEST_SIDE and page.width * page.height <= MOST_PIXELS
        if small or side <= SMALLEST:
            return page
        side = max(SMALLEST, side * 9 // 10)


def _in_rows(blocks: Sequence[_Block], side: int) -> _Page:
    sizes = [block.size(side) for block in blocks]
    area = sum((w + APART) * (h + APART) for w, h in sizes)
    room = max(440, *(w for w, _ in sizes), int(math.sqrt(1.4 * area)))
    placed, x, y, high, widest = [], 0, 0, 0, 440
    for block, (width, height) in zip(blocks, sizes, strict=True):
        if x and x + width > room:
            x, y, high = 0, y + high + APART, 0
        placed.append((MARGIN + x, MARGIN + 2 * LINE + APART + y, block))
        widest, high = max(widest, x + width), max(high, height)
        x += width + APART
    return _Page(side, widest + 2 * MARGIN, y + high + 2 * MARGIN + 2 * LINE + APART, tuple(placed))


class _Brush:
    """Draws one page."""

    def __init__(self, page: _Page, pictures: Pictures) -> None:
        self._page, self._pictures = page, pictures
        self._image = Image.new("RGB", (page.width, page.height), WHITE)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(SIZE)
        self._large = ImageFont.load_default(14)

    def drawn(self, title: Sequence[str]) -> bytes:
        """The page as a PNG file."""
        room = self._page.width - 2 * MARGIN
        for number, text in enumerate(title):
            font, colour = (self._large, INK) if number == 0 else (self._font, SOFT)
            self._draw.text((MARGIN, MARGIN + number * (LINE + 4)), cut(text, font, room), colour, font)
        for x, y, block in self._page.placed:
            self._block(x, y, block)
        file = io.BytesIO()
        self._image.save(file, "PNG", compress_level=6)
        return file.getvalue()

    def _block(self, x: int, y: int, block: _Block) -> None:
        side, step = self._page.side, self._page.side + GAP
        lines = block.lines(side)
        if block.labels:
            text = ",  ".join(f"{name} {one_line(value)}" for name, value in block.labels)
            self._lines(x, y, text, block.size(side)[0], TITLE, INK)
            y += block.above
        if not block.rows:
            for number, cell in enumerate(block.cells):
                left = x + number % block.across * step
                top = y + number // block.across * (step + lines * LINE + GAP)
                self._cell(left, top, cell)
                self._lines(left, top + side + 3, _words(cell.varied), side, lines, INK)
            return
        for number, label in enumerate(block.columns):
            top = y + (lines - len(wrapped(_words(label), self._font, side, lines))) * LINE
            self._lines(x + block.aside + number * step, top, _words(label), side, lines, SOFT)
        y += lines * LINE + GAP
        for number, label in enumerate(block.rows):
            self._lines(x, y + number * step, _words(label), block.aside - 8, max(1, side // LINE), SOFT)
            for place, cell in enumerate(block.cells[number * block.across : (number + 1) * block.across]):
                self._cell(x + block.aside + place * step, y + number * step, cell)

    def _lines(self, x: int, y: int, text: str, room: int, lines: int, colour: tuple[int, int, int]) -> None:
        for number, line in enumerate(wrapped(text, self._font, room, lines)):
            self._draw.text((x, y + number * LINE), line, colour, self._font)

    def _cell(self, x: int, y: int, cell: Cell) -> None:
        side = self._page.side
        found = self._pictures.first(cell.paths)
        if found is None:
            self._says(x, y, cell.message, bad=cell.status == "error")
            return
        path, _ = found
        small = self._pictures.thumbnail(path, side)
        if small is None:
            problem = self._pictures.seen(path).problem
            name = PurePosixPath(path).name
            self._says(x, y, f"{name}: {problem}" if problem else name, bad=bool(problem))
        else:
            self._draw.rectangle(_box(x, y, side), GROUND)
            self._image.paste(small, (x + (side - small.width) // 2, y + (side - small.height) // 2))
            if cell.status == "error":
                self._draw.rectangle(_box(x, y, side), None, BAD, 2)
        if len(cell.paths) > 1:
            self._count(x + side, y, len(cell.paths))

    def _says(self, x: int, y: int, text: str, *, bad: bool) -> None:
        side = self._page.side
        self._draw.rectangle(_box(x, y, side), BAD_GROUND if bad else GROUND, BAD if bad else None)
        self._lines(x + 6, y + 5, one_line(text), side - 12, max(1, (side - 8) // LINE), BAD if bad else SOFT)

    def _count(self, right: int, y: int, count: int) -> None:
        text = f"{count}"
        width = math.ceil(self._font.getlength(text))
        self._draw.rectangle((right - width - 13, y + 4, right - 5, y + 20), (70, 72, 74))
        self._draw.text((right - width - 9, y + 5), text, WHITE, self._font)


def _box(x: int, y: int, side: int) -> Box:
    return x, y, x + side - 1, y + side - 1


def _longest(labels: Sequence[Pairs]) -> int:
    font = ImageFont.load_default(SIZE)
    return max(math.ceil(font.getlength(_words(label))) for label in labels)


def _words(pairs: Pairs) -> str:
    """A label in words: each value with the name of its input, but one long value alone."""
    if len(pairs) == 1 and len(pairs[0][1]) > BRIEF:
        return one_line(pairs[0][1])
    return ",  ".join(f"{name.rpartition('.')[2]} {one_line(value)}" for name, value in pairs)

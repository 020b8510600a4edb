"""A laid-out diagram as shapes with colours: what the SVG and the PNG both draw, in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from nodes.drawing.boxes import ANY, HEADER, PAD, ROW, SMALL, TEXT, TITLE, Box, Diagram
from nodes.drawing.layout import Layout, Point, Route
from nodes.drawing.words import cut, width

MARGIN, HEAD, FOOT, BULGE = 32.0, 56.0, 44.0, 36.0
PAPER, CARD, EDGE, INK, GREY, FAINT, RED = (
    "#f6f7f9", "#ffffff", "#c9ced6", "#1f2933", "#6b7683", "#e6e9ee", "#d92d20",
)  # fmt: skip
KINDS = {
    "MODEL": "#7c5cdb", "CLIP": "#d99a00", "VAE": "#d6455d", "CONDITIONING": "#e2761b", "LATENT": "#d24fa8",
    "IMAGE": "#2f7de1", "MASK": "#2f9e5b", "CONTROL_NET": "#12908e", "UPSCALE_MODEL": "#8a6d3b",
    "SIGMAS": "#5f8f00", "SAMPLER": "#4d5fd1", "GUIDER": "#1497b8", "NOISE": "#7a8794", "STRING": "#55784f",
    "INT": "#4a7f9c", "FLOAT": "#4a7f9c", "BOOLEAN": "#8c6fae",
}  # fmt: skip
SPARE = ("#7f5539", "#386fa4", "#9c6644", "#588157", "#9d4edd", "#bc4749", "#457b9d")


@dataclass(frozen=True)
class Rect:
    """A rectangle with round corners; `open_below` leaves the lower two square."""

    x: float
    y: float
    width: float
    height: float
    radius: float
    fill: str = "none"
    stroke: str = "none"
    weight: float = 1.0
    open_below: bool = False


@dataclass(frozen=True)
class Text:
    """A line of text; y is the middle of its height. `anchor` is start or end."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    bold: bool = False
    anchor: str = "start"


@dataclass(frozen=True)
class Curve:
    """A path: a start, then cubic pieces of two handles and an end each."""

    start: Point
    pieces: tuple[tuple[Point, Point, Point], ...]
    stroke: str
    weight: float = 2.0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A filled circle with a rim of the card's colour."""

    x: float
    y: float
    radius: float
    fill: str


Shape: TypeAlias = Rect | Text | Curve | Dot


@dataclass(frozen=True)
class Group:
    """Shapes that belong together; `tip` is shown when pointed at, where the file can."""

    name: str
    tip: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Scene:
    """All there is to draw, back to front."""

    width: float
    height: float
    groups: tuple[Group, ...]


def colour(kind: str) -> str:
    """The colour of a link type; types not known get one by their name."""
    if kind == ANY:
        return "#8b95a1"
    return KINDS.get(kind) or SPARE[sum(kind.encode("utf-8", "replace")) % len(SPARE)]


def scene(diagram: Diagram, layout: Layout) -> Scene:
    """The shapes of a diagram: heading, wires, boxes, legend."""
    legend, legend_width = _legend(diagram)
    wide = max(layout.width, legend_width, 460.0) + 2 * MARGIN
    notes = [Text(MARGIN, 0, cut(n, TEXT, wide - 2 * MARGIN), TEXT, RED) for n in diagram.notes[:4]]
    foot = HEAD + layout.height + 34.0
    high = foot + FOOT - 14 + ROW * len(notes)
    wires = [_curve(r) for r in layout.routes]
    boxes = [_group(b, *layout.corners[id], layout.widths[id]) for id, b in diagram.boxes.items()]
    shown = [*_moved(legend, MARGIN, foot), *_stacked(notes, foot + 22)]
    return Scene(
        wide,
        high,
        (
            Group("paper", "", (Rect(0, 0, wide, high, 14, PAPER),)),
            Group("heading", "", tuple(_heading(diagram, wide))),
            Group("links", "", tuple(_moved(wires, MARGIN, HEAD))),
            *(Group(g.name, g.tip, tuple(_moved(g.shapes, MARGIN, HEAD))) for g in boxes),
            Group("legend", "", tuple(shown)),
        ),
    )


def _heading(diagram: Diagram, wide: float) -> Iterator[Shape]:
    count = f"{_count(len(diagram.boxes), 'node')}, {_count(len(diagram.wires), 'link')}"
    wrong = sum(len(b.problems) for b in diagram.boxes.values()) + len(diagram.notes)
    yield Text(MARGIN, 27, cut(diagram.name, 17, wide - 2 * MARGIN - 170), 17, INK, bold=True)
    right = wide - MARGIN
    if wrong:
        text = _count(wrong, "problem")
        yield Text(right, 27, text, 12, RED, bold=True, anchor="end")
        right -= width(text, 12) + 16
    yield Text(right, 27, count, 12, GREY, anchor="end")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _curve(route: Route) -> Curve:
    points, pieces = route.points, []
    for i, (a, b) in enumerate(pairwise(points)):
        if i % 2:
            third = (b[0] - a[0]) / 3
            pieces.append(((a[0] + third, a[1]), (b[0] - third, b[1]), b))
        elif route.backward:
            reach = BULGE if i == 0 else -BULGE
            pieces.append(((a[0] + reach, a[1]), (b[0] + reach, b[1]), b))
        else:
            reach = max(abs(b[0] - a[0]) * 0.5, 24.0)
            pieces.append(((a[0] + reach, a[1]), (b[0] - reach, b[1]), b))
    stroke = RED if route.backward else colour(route.wire.kind)
    return Curve(points[0], tuple(pieces), stroke, dashed=route.backward)


def _group(box: Box, x: float, y: float, wide: float) -> Group:
    tip = [f"{box.title} ({box.class_type}, node {box.id})", *(f"{n}: {v}" for n, v in box.settings)]
    return Group(f"node {box.id}", "\n".join([*tip, *box.problems]), tuple(_card(box, x, y, wide)))


def _card(box: Box, x: float, y: float, wide: float) -> Iterator[Shape]:
    wrong = bool(box.problems) or not box.known
    tint = RED if wrong else colour(box.outputs[0][1]) if box.outputs else INK
    yield Rect(x + 1, y + 3, wide, box.height, 9, "#e3e6eb")
    yield Rect(x, y, wide, box.height, 9, CARD)
    yield Rect(x, y, wide, HEADER, 9, _pale(tint), open_below=box.height > HEADER)
    yield Rect(x, y, wide, box.height, 9, stroke=RED if wrong else EDGE, weight=2.0 if wrong else 1.0)
    room = wide - 2 * PAD
    number = width(box.id[:12], SMALL)
    yield Text(
        x + PAD, y + 14.5, cut(box.title, TITLE, room - (56 if box.is_output else 0)), TITLE, INK, bold=True
    )
    yield Text(x + PAD, y + 29.5, cut(box.class_type, SMALL, room - number - 10), SMALL, GREY)
    yield Text(x + wide - PAD, y + 29.5, box.id[:12], SMALL, GREY, anchor="end")
    if box.is_output:
        yield Rect(x + wide - PAD - 46, y + 7, 46, 15, 7.5, INK)
        yield Text(x + wide - PAD - 39, y + 14.5, "output", SMALL, CARD, bold=True)
    yield from _ports(box, x, y, wide)
    yield from _lines(box, x, y + HEADER + 8 + box.ports_height, wide)


def _ports(box: Box, x: float, y: float, wide: float) -> Iterator[Shape]:
    half = (wide - 2 * PAD) / (2 if box.inputs and box.outputs else 1)
    for i, (name, kind) in enumerate(box.inputs):
        yield Dot(x, y + box.port_y(i), 4.5, colour(kind))
        yield Text(x + PAD, y + box.port_y(i), cut(name, TEXT, _side(box.outputs, i, wide, half)), TEXT, INK)
    for i, (name, kind) in enumerate(box.outputs):
        yield Dot(x + wide, y + box.port_y(i), 4.5, colour(kind))
        text = cut(name, TEXT, _side(box.inputs, i, wide, half))
        yield Text(x + wide - PAD, y + box.port_y(i), text, TEXT, INK, anchor="end")


def _side(other: tuple[tuple[str, str], ...], i: int, wide: float, half: float) -> float:
    """The room for a port's name beside the name on the other side."""
    taken = width(other[i][0], TEXT) + 12 if i < len(other) else 0
    return max(wide - 2 * PAD - taken, half - 6)


def _lines(box: Box, x: float, y: float, wide: float) -> Iterator[Shape]:
    if box.rows:
        if box.ports_height:
            yield Rect(x + PAD, y + 2, wide - 2 * PAD, 1, 0, FAINT)
        y += 8 if box.ports_height else 2
    for row in box.rows:
        y += ROW
        yield Text(x + PAD, y - ROW / 2, row.name or row.value, TEXT, GREY if row.name else INK)
        if row.name and row.value:
            yield Text(x + wide - PAD, y - ROW / 2, row.value, TEXT, INK, anchor="end")
    y += 6 if box.complaints else 0
    for line in box.complaints:
        y += ROW
        yield Text(x + PAD, y - ROW / 2, line, TEXT, RED)


def _pale(tint: str) -> str:
    """The colour mixed with six parts of white."""
    parts = (int(tint[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - p) * 0.15):02x}" for p in parts)


def _legend(diagram: Diagram) -> tuple[list[Shape], float]:
    kinds = sorted({w.kind for w in diagram.wires})[:40]
    shapes: list[Shape] = []
    x = 0.0
    for kind in kinds:
        name = "any type" if kind == ANY else kind
        shapes.append(Rect(x, -2, 20, 4, 2, colour(kind)))
        shapes.append(Text(x + 27, 0, name, TEXT, GREY))
        x += 27 + width(name, TEXT) + 20
    return shapes, x


def _moved(shapes: Iterable[Shape], dx: float, dy: float) -> Iterator[Shape]:
    for s in shapes:
        if isinstance(s, Curve):
            pieces = tuple((_by(a, dx, dy), _by(b, dx, dy), _by(c, dx, dy)) for a, b, c in s.pieces)
            yield Curve(_by(s.start, dx, dy), pieces, s.stroke, s.weight, s.dashed)
        else:
            yield type(s)(**{**vars(s), "x": s.x + dx, "y": s.y + dy})


def _by(point: Point, dx: float, dy: float) -> Point:
    return point[0] + dx, point[1] + dy


def _stacked(texts: Iterable[Text], y: float) -> Iterator[Text]:
    for i, t in enumerate(texts):
        yield Text(t.x, y + ROW * i, t.text, t.size, t.fill)

"""A scene as SVG text, self-contained: no script, no outside font."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from nodes.drawing.scene import CARD, Curve, Dot, Group, Rect, Scene, Shape, Text

FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"


def as_svg(scene: Scene, name: str) -> str:
    """The text of an SVG file."""
    w, h = f"{scene.width:.0f}", f"{scene.height:.0f}"
    size = f'width="{w}" height="{h}" viewBox="0 0 {w} {h}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}" role="img">',
        f"<title>{escape(name)}</title>",
        *(line for group in scene.groups for line in _group(group)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _group(group: Group) -> Iterator[str]:
    yield f"<g data-name={quoteattr(group.name)}>"
    if group.tip:
        yield f"<title>{escape(group.tip)}</title>"
    for shape in group.shapes:
        yield _shape(shape)
    yield "</g>"


def _shape(s: Shape) -> str:
    match s:
        case Rect():
            return _rect(s)
        case Text():
            style = f'font-size="{_n(s.size)}" fill="{s.fill}"'
            style += ' font-weight="600"' if s.bold else ""
            style += ' text-anchor="end"' if s.anchor == "end" else ""
            return f'<text x="{_n(s.x)}" y="{_n(s.y + s.size * 0.36)}" {style}>{escape(s.text)}</text>'
        case Dot():
            place = f'cx="{_n(s.x)}" cy="{_n(s.y)}" r="{_n(s.radius)}"'
            return f'<circle {place} fill="{s.fill}" stroke="{CARD}" stroke-width="1.5"/>'
        case Curve():
            pieces = " ".join("C" + " ".join(f"{_n(x)},{_n(y)}" for x, y in piece) for piece in s.pieces)
            dash = ' stroke-dasharray="7 5"' if s.dashed else ""
            style = (
                f'fill="none" stroke="{s.stroke}" stroke-width="{_n(s.weight)}" stroke-opacity="0.9"{dash}'
            )
            return f'<path d="M{_n(s.start[0])},{_n(s.start[1])} {pieces}" {style}/>'


def _rect(s: Rect) -> str:
    style = f'fill="{s.fill}"'
    style += f' stroke="{s.stroke}" stroke-width="{_n(s.weight)}"' if s.stroke != "none" else ""
    if not s.open_below:
        place = (
            f'x="{_n(s.x)}" y="{_n(s.y)}" width="{_n(s.width)}" height="{_n(s.height)}" rx="{_n(s.radius)}"'
        )
        return f"<rect {place} {style}/>"
    r, right, bottom = s.radius, s.x + s.width, s.y + s.height
    path = f"M{_n(s.x)},{_n(bottom)} V{_n(s.y + r)} A{_n(r)},{_n(r)} 0 0 1 {_n(s.x + r)},{_n(s.y)} "
    path += f"H{_n(right - r)} "
    path += f"A{_n(r)},{_n(r)} 0 0 1 {_n(right)},{_n(s.y + r)} V{_n(bottom)} Z"
    return f'<path d="{path}" {style}/>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

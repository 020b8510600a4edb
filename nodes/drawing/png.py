"""A scene as a PNG, drawn with Pillow at twice the size and reduced, so that edges are smooth."""

import io
from functools import cache
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from nodes.drawing.layout import Point
from nodes.drawing.scene import CARD, PAPER, Curve, Dot, Rect, Scene, Shape, Text

SCALE = 2.0  # pixels for each unit of the scene, in the finished picture
SMOOTH = 2
MOST_PIXELS = 48_000_000  # while drawing; larger scenes are drawn smaller
LONGEST_SIDE = 30_000
OTHER_SCRIPTS = (
    "NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc", "wqy-microhei.ttc", "DejaVuSans.ttf", "arial.ttf",
)  # fmt: skip


def as_png(scene: Scene) -> bytes:
    """The content of a PNG file."""
    finished = min(
        SCALE,
        LONGEST_SIDE / SMOOTH / max(scene.width, scene.height),
        (MOST_PIXELS / (scene.width * scene.height)) ** 0.5 / SMOOTH,
    )
    brush = _Brush(scene, finished * SMOOTH)
    for group in scene.groups:
        for shape in group.shapes:
            brush.draw(shape)
    size = (max(1, round(scene.width * finished)), max(1, round(scene.height * finished)))
    image = brush.image.resize(size, PIL.Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class _Brush:
    """Draws shapes at a scale."""

    def __init__(self, scene: Scene, scale: float) -> None:
        self.scale = scale
        size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
        self.image = PIL.Image.new("RGB", size, PAPER)
        self._pen = PIL.ImageDraw.Draw(self.image)

    def draw(self, s: Shape) -> None:
        k = self.scale
        match s:
            case Rect():
                self._rect(s)
            case Text():
                self._text(s)
            case Dot():
                for radius, fill in ((s.radius + 0.8, CARD), (s.radius - 0.7, s.fill)):
                    x, y, r = s.x * k, s.y * k, radius * k
                    self._pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
            case Curve():
                self._curve(s)

    def _rect(self, s: Rect) -> None:
        k = self.scale
        box = (s.x * k, s.y * k, (s.x + s.width) * k, (s.y + s.height) * k)
        self._pen.rounded_rectangle(
            box,
            s.radius * k,
            fill=None if s.fill == "none" else s.fill,
            outline=None if s.stroke == "none" else s.stroke,
            width=max(1, round(s.weight * k)),
            corners=(True, True, not s.open_below, not s.open_below),
        )

    def _text(self, s: Text) -> None:
        size = max(1, round(s.size * self.scale))
        face = _font(size, all(ord(c) < 0x250 or c == "…" for c in s.text))
        self._pen.text(
            (s.x * self.scale, s.y * self.scale),
            s.text,
            fill=s.fill,
            font=face,
            anchor="rm" if s.anchor == "end" else "lm",
            stroke_width=round(size / 50) if s.bold else 0,
        )

    def _curve(self, s: Curve) -> None:
        k = self.scale
        points = [s.start]
        for handle, other, end in s.pieces:
            level = points[-1][1] == handle[1] == other[1] == end[1]
            points += [end] if level and not s.dashed else _bezier(points[-1], handle, other, end)
        scaled = [(x * k, y * k) for x, y in points]
        weight = max(1, round(s.weight * k))
        if not s.dashed:
            self._pen.line(scaled, fill=s.stroke, width=weight, joint="curve")
            return
        for i in range(0, len(scaled) - 1, 2):
            self._pen.line(scaled[i : i + 2], fill=s.stroke, width=weight)


def _bezier(a: Point, b: Point, c: Point, d: Point, steps: int = 28) -> list[Point]:
    found = []
    for i in range(1, steps + 1):
        t = i / steps
        u = 1 - t
        w = (u**3, 3 * u * u * t, 3 * u * t * t, t**3)
        found.append(
            (
                w[0] * a[0] + w[1] * b[0] + w[2] * c[0] + w[3] * d[0],
                w[0] * a[1] + w[1] * b[1] + w[2] * c[1] + w[3] * d[1],
            )
        )
    return found


@cache
def _font(size: int, latin: bool) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """Pillow's own face; for other scripts the first face that this machine has."""
    for name in () if latin else OTHER_SCRIPTS:
        try:
            return PIL.ImageFont.truetype(str(Path(name)), size)
        except OSError:
            continue
    return PIL.ImageFont.load_default(size)

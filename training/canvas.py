"""A supersampled picture under the sky of a scene: colours in its light, shapes in unit coordinates."""

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from training.scene import RGB, Scene

Point = tuple[float, float]

# Three sky colours (top, middle, horizon), the tint of what they light, the haze and its share.
SKIES: dict[str, tuple[tuple[RGB, RGB, RGB], RGB, RGB, float]] = {
    "dawn": (
        ((112, 140, 204), (236, 176, 196), (255, 224, 178)),
        (1.0, 0.90, 0.86),
        (244, 186, 186),
        0.16,
    ),
    "noon": (((54, 136, 226), (132, 196, 246), (214, 238, 250)), (1.0, 1.0, 0.98), (190, 225, 250), 0.06),
    "sunset": (((86, 48, 118), (230, 88, 84), (255, 180, 74)), (0.86, 0.60, 0.52), (196, 74, 70), 0.18),
    "night": (((8, 10, 36), (20, 30, 76), (52, 70, 128)), (0.26, 0.31, 0.50), (20, 30, 80), 0.30),
}
# How brightly the object itself is lit: kept higher than the land, so that its colour stays readable.
OBJECT_LIGHT: dict[str, RGB] = {
    "dawn": (1.0, 0.95, 0.92),
    "noon": (1, 1, 1),
    "sunset": (0.96, 0.80, 0.74),
    "night": (0.62, 0.62, 0.74),
}


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """The colour a share ``t`` of the way from a to b."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def shade(c: RGB, f: float) -> RGB:
    """Lighter (f > 1) or darker (f < 1) version of a colour."""
    return mix(c, (255, 255, 255), f - 1) if f > 1 else (c[0] * f, c[1] * f, c[2] * f)


def rgb(c: RGB) -> tuple[int, int, int]:
    """The colour in whole numbers from 0 to 255."""
    red, green, blue = (max(0, min(255, int(v))) for v in c)
    return red, green, blue


def lit_by(c: RGB, light: RGB) -> RGB:
    """The colour under a light of another colour (1 is white)."""
    return c[0] * light[0], c[1] * light[1], c[2] * light[2]


class Canvas:
    """A supersampled picture in unit coordinates, under the sky of a scene."""

    def __init__(self, scene: Scene, size: int, supersample: int = 3) -> None:
        self.s, self.size, self.n = scene, size, size * supersample
        self.r = random.Random(scene.seed * 7919 + 13)
        self.sky, self.tint, self.haze, self.haze_share = SKIES[scene.time]
        self.horizon = self.r.uniform(0.56, 0.66)
        top, middle, low = self.sky
        stops = [(0.0, top), (self.horizon * 0.6, middle), (self.horizon + 0.02, low)]
        self.image = self.gradient(stops)
        self.d = ImageDraw.Draw(self.image)

    def lit(self, c: RGB, haze: float = 1.0) -> RGB:
        """A land colour under this sky; more haze is further away."""
        return rgb(mix(lit_by(c, self.tint), self.haze, min(1.0, self.haze_share * haze)))

    def obj(self, c: RGB, f: float = 1.0) -> RGB:
        """An object colour under this sky, shaded by ``f``."""
        return rgb(lit_by(shade(c, f), OBJECT_LIGHT[self.s.time]))

    def px(self, points: Sequence[Point]) -> list[Point]:
        """Points in pixels of the canvas."""
        return [(x * self.n, y * self.n) for x, y in points]

    def poly(self, points: Sequence[Point], fill: RGB) -> None:
        """Fill a polygon."""
        self.d.polygon(self.px(points), fill=rgb(fill))

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        """Fill a rectangle."""
        self.d.rectangle(self.px([(x0, y0), (x1, y1)]), fill=rgb(fill))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        """Fill an ellipse around a point."""
        self.d.ellipse(self.px([(x - rx, y - ry), (x + rx, y + ry)]), fill=rgb(fill))

    def line(self, points: Sequence[Point], width: float, fill: RGB) -> None:
        """Draw a line through points."""
        self.d.line(self.px(points), fill=rgb(fill), width=max(1, int(width * self.n)), joint="curve")

    def gradient(self, stops: Sequence[tuple[float, RGB]]) -> Image.Image:
        """Full-size vertical gradient through (y, colour) stops."""
        heights = [stop[0] for stop in stops]
        ys = np.linspace(0, 1, self.n)
        column = np.stack([np.interp(ys, heights, [stop[1][i] for stop in stops]) for i in range(3)], -1)
        return Image.fromarray(column.astype(np.uint8)[:, None]).resize((self.n, self.n))

    def paste(self, layer: Image.Image, points: Sequence[Point], alpha: int = 255) -> None:
        """Paste a full-size layer inside a polygon."""
        mask = Image.new("L", (self.n, self.n))
        ImageDraw.Draw(mask).polygon(self.px(points), fill=alpha)
        self.image.paste(layer, mask=mask)

    def band(self, ys: Sequence[float], top: RGB, bottom: RGB, depth: float = 0.4) -> None:
        """Land below a silhouette line given by equally spaced heights."""
        line = [(float(x), y) for x, y in zip(np.linspace(0, 1, len(ys)), ys, strict=True)]
        layer = self.gradient([(min(ys), top), (min(1, min(ys) + depth), bottom)])
        self.paste(layer, [*line, (1, 1), (0, 1)])

    def wave(self, y: float, amp: float, waves: float = 1.5, n: int = 33) -> list[float]:
        """Smooth random silhouette around height y."""
        p, q, w = self.r.uniform(0, 6.28), self.r.uniform(0, 6.28), waves * self.r.uniform(0.7, 1.3)
        slow = [0.65 * math.sin(6.28 * w * i / n + p) for i in range(n)]
        fast = [0.35 * math.sin(6.28 * 2.3 * w * i / n + q) for i in range(n)]
        return [y + amp * (a + b) for a, b in zip(slow, fast, strict=True)]

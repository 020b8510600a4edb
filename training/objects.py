"""The objects of a scene: house, tree, castle, tower, lighthouse, windmill, boat, balloon, dragon."""

import math
from itertools import pairwise

from PIL import Image

from training.canvas import Point, mix, shade
from training.painting import LAND, Landscape, object_x
from training.scene import COLORS, RGB

FOOT = {"meadow": 0.84, "desert": 0.84, "snow": 0.84, "lake": 0.86, "sea": 0.845, "beach": 0.88}
SPINE: tuple[Point, ...] = (
    (-0.22, 0.10),
    (-0.15, 0.055),
    (-0.07, 0.035),
    (0.02, 0.02),
    (0.09, -0.03),
    (0.13, -0.085),
    (0.18, -0.085),
)
CROWN = (
    (-0.085, 0.22, 0.075),
    (0.085, 0.22, 0.075),
    (0, 0.24, 0.10),
    (-0.045, 0.32, 0.085),
    (0.05, 0.32, 0.08),
    (0, 0.38, 0.06),
)


def trim(c: RGB) -> RGB:
    """A roof or cap colour which contrasts with a wall colour without being another named hue."""
    return (96, 92, 104) if sum(c) < 200 else (74, 66, 78)


class Painter(Landscape):
    """A whole scene; the painters of objects take the foot (x, y), a size and a colour."""

    def paint(self) -> Image.Image:
        """The finished picture."""
        self.paint_sky()
        self.paint_background()
        self.paint_ground()
        self.paint_object()
        if self.s.snowfall:
            for _ in range(60):
                q = self.r.uniform(0.004, 0.008)
                self.oval(self.r.random(), self.r.random(), q, q, self.obj((255, 255, 255)))
        return self.image.reduce(self.n // self.size)

    def paint_object(self) -> None:
        """The object with its shadow."""
        s, r = self.s, self.r
        if s.object == "none":
            return
        x, k, y = object_x(s), r.uniform(0.92, 1.1), FOOT[s.ground]
        if s.object == "boat":
            y = 0.80 if s.ground == "sea" else 0.76
        elif s.object in ("balloon", "dragon"):
            y = r.uniform(0.30, 0.36)
        elif s.ground != "sea":
            self.oval(x + 0.03, y, 0.17 * k, 0.018, self.lit(shade(LAND[s.ground][1], 0.72)))
        getattr(self, "paint_" + s.object)(x, y, k, COLORS[s.color])

    @property
    def window(self) -> RGB:
        """The colour of a window, lit in the evening."""
        return (255, 222, 120) if self.s.time in ("night", "sunset") else self.obj((92, 132, 168))

    def paint_house(self, x: float, y: float, k: float, c: RGB) -> None:
        """A cottage with a dark roof."""
        w, h, roof = 0.15 * k, 0.19 * k, trim(c)
        top, gable = y - 1.72 * h, x - 0.38 * w
        self.rect(x + 0.45 * w, y - h * 1.62, x + 0.68 * w, y - h * 1.1, self.obj(roof, 0.8))
        self.rect(x - w, y - h, x + 0.25 * w, y, self.obj(c))
        self.rect(x + 0.25 * w, y - h, x + w, y, self.obj(c, 0.78))
        self.poly([(x - 1.18 * w, y - h), (gable, top), (x + 0.45 * w, y - h)], self.obj(roof, 1.15))
        self.poly([(x - w, y - h), (gable, y - 1.56 * h), (x + 0.25 * w, y - h)], self.obj(c))
        slope = [(x + 0.3 * w, y - h), (gable, top), (x + 0.62 * w, top), (x + 1.18 * w, y - h)]
        self.poly(slope, self.obj(roof))
        self.rect(x - 0.55 * w, y - 0.55 * h, x - 0.2 * w, y, self.obj(roof, 0.8))
        for dx in (0.42, 0.72):
            self.rect(x + dx * w, y - 0.68 * h, x + (dx + 0.18) * w, y - 0.36 * h, self.window)
        self.oval(gable, y - 1.1 * h, 0.11 * w, 0.11 * w, self.window)

    def paint_tree(self, x: float, y: float, k: float, c: RGB) -> None:
        """A round leafy tree."""
        foot, neck = 0.028 * k, 0.016 * k
        trunk = [(x - foot, y), (x - neck, y - 0.2 * k), (x + neck, y - 0.2 * k), (x + foot, y)]
        self.poly(trunk, self.obj((110, 74, 50)))
        for f, shift, size, dy in ((0.74, 0.0, 1.0, 0.02), (1.0, 0.015 * k, 0.8, 0.0)):
            for dx, h, q in CROWN:
                r = q * size * k
                self.oval(x + dx * k - shift, y - h * k + dy, r, r, self.obj(c, f))
        for dx, h in ((-0.06, 0.33), (-0.02, 0.40), (-0.10, 0.25)):
            self.oval(x + dx * k, y - h * k, 0.022 * k, 0.018 * k, self.obj(c, 1.25))

    def paint_castle(self, x: float, y: float, k: float, c: RGB) -> None:
        """A wall with battlements and three towers."""
        w, h, gate = 0.13 * k, 0.17 * k, self.obj((70, 52, 44))
        self.rect(x - w, y - h, x + w, y, self.obj(c, 0.92))
        for i in range(5):
            left = x - w + i * 0.44 * w
            self.rect(left, y - h - 0.022, left + 0.22 * w, y - h, self.obj(c, 0.92))
        for dx, q, tall in ((0.0, 0.42, 1.75), (-1.0, 0.36, 1.45), (1.0, 0.36, 1.45)):
            cx, top = x + dx * w, y - h * tall
            self.rect(cx - q * w, top, cx + 0.25 * q * w, y, self.obj(c, 1.06))
            self.rect(cx + 0.25 * q * w, top, cx + q * w, y, self.obj(c, 0.76))
            cap = [(cx - 1.25 * q * w, top), (cx, top - 0.13 * k), (cx + 1.25 * q * w, top)]
            self.poly(cap, self.obj(trim(c), 1.1))
            y0, y1 = y - h * (tall - 0.32), y - h * (tall - 0.6)
            self.rect(cx - 0.14 * w, y0, cx + 0.1 * w, y1, self.window)
        self.rect(x - 0.2 * w, y - 0.4 * h, x + 0.2 * w, y, gate)
        self.oval(x, y - 0.4 * h, 0.2 * w, 0.2 * w, gate)

    def paint_tower(self, x: float, y: float, k: float, c: RGB) -> None:
        """A slender tower with a pointed roof."""
        w, h, top = 0.065 * k, 0.36 * k, y - 0.36 * k
        self.rect(x - w, top, x + 0.3 * w, y, self.obj(c))
        self.rect(x + 0.3 * w, top, x + w, y, self.obj(c, 0.75))
        self.rect(x - 1.25 * w, top - 0.03, x + 1.25 * w, top + 0.03, self.obj(c, 0.88))
        roof = [(x - 1.35 * w, top - 0.03), (x, top - 0.17 * k), (x + 1.35 * w, top - 0.03)]
        self.poly(roof, self.obj(trim(c), 1.1))
        for q in (0.85, 0.55, 0.28):
            self.rect(x - 0.35 * w, y - h * q, x + 0.05 * w, y - h * q + 0.045, self.window)

    def paint_lighthouse(self, x: float, y: float, k: float, c: RGB) -> None:
        """A striped lighthouse, with its beam at night."""
        h, white = 0.38 * k, (246, 244, 238) if sum(c) < 690 else (150, 154, 164)
        if self.s.time == "night":
            beam = Image.new("RGB", (self.n, self.n), (255, 240, 170))
            far = x + (0.9 if x < 0.5 else -0.9)
            self.paste(beam, [(x, y - h - 0.035), (far, y - h - 0.16), (far, y - h + 0.07)], 90)
        for i in range(5):
            low, high = y - i / 5 * h, y - (i + 1) / 5 * h
            a, b = (0.072 - 0.032 * i / 5) * k, (0.072 - 0.032 * (i + 1) / 5) * k
            stripe = white if i % 2 else c
            self.poly([(x - a, low), (x + a, low), (x + b, high), (x - b, high)], self.obj(stripe))
            side = [(x + 0.35 * a, low), (x + a, low), (x + b, high), (x + 0.35 * b, high)]
            self.poly(side, self.obj(stripe, 0.8))
        self.rect(x - 0.056 * k, y - h - 0.012, x + 0.056 * k, y - h + 0.01, self.obj((60, 60, 70)))
        self.rect(x - 0.03 * k, y - h - 0.065 * k, x + 0.03 * k, y - h - 0.01, (255, 236, 150))
        eaves, tip = y - h - 0.06 * k, y - h - 0.115 * k
        self.poly([(x - 0.045 * k, eaves), (x, tip), (x + 0.045 * k, eaves)], self.obj(c, 0.85))

    def paint_windmill(self, x: float, y: float, k: float, c: RGB) -> None:
        """A mill with four sails at a random angle."""
        top = y - 0.27 * k
        right = [(x + 0.052 * k, top), (x + 0.085 * k, y)]
        self.poly([(x - 0.085 * k, y), (x - 0.052 * k, top), *right], self.obj(c))
        self.poly([(x + 0.03 * k, y), (x + 0.018 * k, top), *right], self.obj(c, 0.78))
        cap = [(x - 0.06 * k, top), (x, top - 0.075 * k), (x + 0.06 * k, top)]
        self.poly(cap, self.obj(trim(c)))
        self.rect(x - 0.028 * k, y - 0.08 * k, x + 0.022 * k, y, self.obj((84, 60, 46)))
        self.rect(x - 0.03 * k, y - 0.19 * k, x + 0.005 * k, y - 0.15 * k, self.window)
        hub, start = (x, top - 0.005), self.r.uniform(0.2, 1.2)
        for i in range(4):
            self.paint_sail(hub, k, start + i * math.pi / 2)
        self.oval(*hub, 0.014 * k, 0.014 * k, self.obj((84, 66, 56)))

    def paint_sail(self, hub: Point, k: float, angle: float) -> None:
        """One sail of a windmill."""
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))

        def at(p: float, q: float) -> Point:
            return (
                hub[0] + (p * along[0] + q * across[0]) * k,
                hub[1] + (p * along[1] + q * across[1]) * k,
            )

        self.line([at(0, 0), at(0.2, 0)], 0.01, self.obj((110, 84, 62)))
        sail = [at(0.06, 0.005), at(0.2, 0.005), at(0.2, 0.05), at(0.06, 0.05)]
        self.poly(sail, self.obj((244, 236, 216)))

    def paint_boat(self, x: float, y: float, k: float, c: RGB) -> None:
        """A sailing boat."""
        sail, low = self.obj((246, 240, 226) if sum(c) < 690 else (214, 206, 196)), y - 0.08 * k
        self.oval(x, y + 0.005, 0.19 * k, 0.014, mix(self.lit((220, 240, 245)), self.sky[2], 0.3))
        self.line([(x, y - 0.05 * k), (x, y - 0.36 * k)], 0.012, self.obj((98, 70, 50)))
        self.poly([(x + 0.012, y - 0.35 * k), (x + 0.012, low), (x + 0.15 * k, low)], self.obj(c))
        self.poly([(x - 0.012, y - 0.32 * k), (x - 0.012, low), (x - 0.11 * k, low)], sail)
        rim, keel = y - 0.065 * k, y + 0.008
        hull = [(x - 0.17 * k, rim), (x + 0.19 * k, rim), (x + 0.12 * k, keel), (x - 0.12 * k, keel)]
        self.poly(hull, self.obj(c, 0.92))
        self.rect(x - 0.165 * k, y - 0.068 * k, x + 0.185 * k, y - 0.05 * k, sail)

    def paint_balloon(self, x: float, y: float, k: float, c: RGB) -> None:
        """A striped hot air balloon."""
        q = 0.15 * k
        high, low = y + 0.6 * q, y + 1.45 * q
        skirt = [(x - 0.8 * q, high), (x + 0.8 * q, high), (x + 0.2 * q, low), (x - 0.2 * q, low)]
        self.poly(skirt, self.obj(c, 0.85))
        for f, w in ((0.8, 1.0), (1.0, 0.78), (1.28, 0.5), (1.0, 0.2)):
            self.oval(x - (1 - w) * 0.12 * q, y, w * q, q, self.obj(c, f))
        for dx in (-0.16, 0.16):
            rope = [(x + dx * q, low), (x + 0.8 * dx * q, y + 1.8 * q)]
            self.line(rope, 0.005, self.obj((90, 70, 56)))
        self.rect(x - 0.2 * q, y + 1.75 * q, x + 0.2 * q, y + 2.05 * q, self.obj((134, 92, 54)))

    def paint_dragon(self, x: float, y: float, k: float, c: RGB) -> None:
        """A flying dragon, looking left or right."""
        side = 1 if self.s.seed % 2 else -1

        def at(*points: Point) -> list[Point]:
            return [(x + side * px * k, y + py * k) for px, py in points]

        wing, up = self.obj(c, 0.72), -0.2 + self.r.uniform(-0.03, 0.03)
        far = ((-0.05, up), (-0.21, up + 0.05), (-0.155, -0.1), (-0.17, -0.05), (-0.09, -0.04), (-0.08, 0.01))
        self.poly(at((0.0, -0.01), *far), wing)
        widths = (0.02, 0.036, 0.062, 0.056, 0.042, 0.036)
        for ((ax, ay), (bx, by)), w in zip(pairwise(SPINE), widths, strict=True):
            for t in (0, 0.25, 0.5, 0.75, 1):
                ((cx, cy),) = at((ax + (bx - ax) * t, ay + (by - ay) * t))
                self.oval(cx, cy, w * k / 1.6, w * k / 1.6, self.obj(c))
        self.poly(at((-0.21, 0.085), (-0.275, 0.10), (-0.25, 0.15), (-0.2, 0.12)), wing)
        self.poly(at((0.16, -0.11), (0.245, -0.082), (0.235, -0.06), (0.16, -0.06)), self.obj(c))
        self.poly(at((0.17, -0.10), (0.135, -0.15), (0.2, -0.105)), self.obj((240, 226, 190)))
        near = ((-0.12, up - 0.04), (-0.075, -0.16), (-0.11, -0.1), (-0.04, -0.075), (-0.06, 0.01))
        self.poly(at((0.03, 0.0), (0.05, up - 0.02), *near), self.obj(c, 1.12))
        ((ex, ey),) = at((0.19, -0.09))
        self.oval(ex, ey, 0.008 * k, 0.008 * k, (255, 240, 120))
        for lx in (-0.03, 0.03):
            self.line(at((lx, 0.03), (lx - 0.02, 0.085)), 0.02 * k, self.obj(c, 0.82))

"""Scenes as flat illustrations, all but the object: sky, backdrop and ground."""

import random

import numpy as np
from PIL import Image, ImageDraw

from training.canvas import Canvas, Point, mix, rgb, shade
from training.scene import RGB, Scene

LAND: dict[str, tuple[RGB, RGB]] = {
    "meadow": ((142, 196, 84), (74, 146, 62)),
    "desert": ((244, 206, 136), (214, 152, 84)),
    "snow": ((250, 252, 255), (206, 222, 242)),
    "lake": ((126, 180, 84), (62, 128, 64)),
    "sea": ((122, 116, 110), (84, 80, 78)),
    "beach": ((248, 224, 168), (228, 190, 124)),
}
LIGHT_HEIGHT = {"dawn": 0.44, "noon": 0.15, "sunset": 0.46, "night": 0.18}
LIGHT_COLOR: dict[str, RGB] = {
    "dawn": (255, 244, 206),
    "noon": (255, 236, 120),
    "sunset": (255, 226, 120),
    "night": (246, 244, 222),
}
CLOUD_COLOR: dict[str, RGB] = {
    "dawn": (255, 226, 226),
    "noon": (255, 255, 255),
    "sunset": (255, 170, 140),
    "night": (76, 88, 136),
}
HILLS: tuple[RGB, RGB] = ((120, 168, 120), (92, 148, 92))
ROCKS: tuple[RGB, RGB] = ((122, 134, 164), (96, 106, 134))
FLOWERS: tuple[RGB, ...] = ((255, 250, 240), (255, 214, 90), (240, 120, 150))
OBJECT_X = {"left": 0.24, "center": 0.5, "right": 0.76}
AFLOAT = ("none", "boat", "balloon", "dragon")


def object_x(scene: Scene) -> float:
    """Where the object stands, 0 at the left border and 1 at the right."""
    return OBJECT_X[scene.position] + random.Random(scene.seed + 5).uniform(-0.03, 0.03)


class Landscape(Canvas):
    """Everything but the object: sky, backdrop, ground."""

    def paint_sky(self) -> None:
        """Sky, sun or moon, stars, clouds."""
        s, r = self.s, self.r
        self.light: tuple[float, RGB] | None = None
        y, radius = 0.0, 0.0
        if s.sun or s.moon:
            x, radius = r.uniform(0.15, 0.85), r.uniform(0.055, 0.08)
            y = LIGHT_HEIGHT[s.time] + r.uniform(-0.04, 0.03)
            self.light = (x, LIGHT_COLOR[s.time])
            self.paint_glow(x, y)
        if s.stars:
            for _ in range(r.randint(45, 70)):
                k = r.choice((0.003, 0.004, 0.006))
                sx, sy = r.random(), r.uniform(0, self.horizon - 0.05)
                self.oval(sx, sy, k, k, mix(self.sky[1], (255, 255, 245), r.uniform(0.6, 1)))
        if self.light:
            self.paint_disc(self.light[0], y, radius)
        if s.clouds:
            self.paint_clouds()

    def paint_glow(self, x: float, y: float) -> None:
        """The halo of sun or moon."""
        m = self.size // 4
        yy, xx = np.mgrid[0:m, 0:m] / m
        strength = 110 if self.s.moon else 190
        glow = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 0.13**2)) * strength
        mask = Image.fromarray(glow.astype(np.uint8)).resize((self.n, self.n), Image.Resampling.BILINEAR)
        self.image.paste(rgb(LIGHT_COLOR[self.s.time]), mask=mask)
        self.d = ImageDraw.Draw(self.image)

    def paint_disc(self, x: float, y: float, radius: float) -> None:
        """The disc of the sun, or of the moon with its craters."""
        core = LIGHT_COLOR[self.s.time]
        self.oval(x, y, radius, radius, core)
        if self.s.moon:
            for dx, dy, k in ((-0.3, -0.2, 0.22), (0.3, 0.25, 0.16), (0.1, -0.45, 0.12)):
                gray = mix(core, (170, 172, 180), 0.5)
                self.oval(x + dx * radius, y + dy * radius, k * radius, k * radius, gray)

    def paint_clouds(self) -> None:
        """A few flat-bottomed clouds."""
        mask = Image.new("L", (self.n, self.n))
        d = ImageDraw.Draw(mask)
        for _ in range(self.r.randint(2, 4)):
            x, y = self.r.uniform(0.05, 0.95), self.r.uniform(0.08, 0.36)
            w = self.r.uniform(0.12, 0.22)
            for dx, k in ((-0.55, 0.22), (-0.2, 0.34), (0.2, 0.4), (0.55, 0.24)):
                rx, ry = k * w, k * w * 0.85
                d.ellipse(self.px([(x + dx * w - rx, y - ry), (x + dx * w + rx, y + ry)]), fill=225)
            d.rectangle(self.px([(x - w, y + 0.06 * w), (x + w, y + w)]), fill=0)
            base = self.px([(x - 0.8 * w, y - 0.1 * w), (x + 0.8 * w, y + 0.1 * w)])
            d.rounded_rectangle(base, 0.1 * w * self.n, fill=225)
        self.image.paste(rgb(CLOUD_COLOR[self.s.time]), mask=mask)

    def paint_background(self) -> None:
        """Hills, or two rows of mountains."""
        h = self.horizon
        if self.s.background == "hills":
            for k, base in enumerate(HILLS):
                c = self.lit(base, 2.6 - k)
                heights = self.wave(h - 0.10 + 0.06 * k, 0.035, 1.4)
                self.band(heights, c, mix(c, self.sky[2], 0.25), 0.2)
        elif self.s.background != "none":
            for k in range(2):
                self.paint_ridge(k)

    def paint_ridge(self, k: int) -> None:
        """One row of mountains, the far (0) or the near one (1)."""
        r, base, peaks = self.r, self.horizon + 0.02, []
        rock = self.lit(ROCKS[k], 2.4 - k)
        x = r.uniform(-0.1, 0.05)
        while x < 1.1:
            peaks.append((x, r.uniform(0.20, 0.30) if k == 0 else r.uniform(0.10, 0.18)))
            x += r.uniform(0.2, 0.32)
        for px, ph in peaks:
            w, lean = ph * r.uniform(0.85, 1.1), r.uniform(-0.02, 0.02)
            apex, foot = (px + lean, base - ph), (px + 0.25 * w, base)
            self.poly([(px - w, base), apex, (px + w, base)], rock)
            self.poly([apex, (px + w, base), foot], mix(rock, self.lit((40, 48, 84), 1), 0.32))
            if self.s.background == "snowy mountains":
                self.paint_snow_cap(apex, foot, w, lean)

    def paint_snow_cap(self, apex: Point, foot: Point, w: float, lean: float, share: float = 0.42) -> None:
        """Snow on the upper ``share`` of a mountain of half width w."""
        bright, dark = self.lit((252, 253, 255), 0.6), self.lit((190, 206, 236), 0.8)
        left, right = apex[0] - share * (w + lean), apex[0] + share * (w - lean)
        y, z = apex[1] + share * (foot[1] - apex[1]), 0.06 * w
        middle = apex[0] + share * (foot[0] - apex[0])
        zigzag = [((2 * left + middle) / 3, y - z), ((left + 2 * middle) / 3, y + z), (middle, y - z)]
        self.poly([apex, (left, y), *zigzag], bright)
        self.poly([apex, (middle, y - z), ((middle + right) / 2, y + z), (right, y)], dark)

    def paint_ground(self) -> None:
        """The land or water in front."""
        if self.s.ground in ("meadow", "desert", "snow"):
            self.paint_land()
        elif self.s.ground == "beach":
            light, dark = (self.lit(c) for c in LAND["beach"])
            foam = self.lit((255, 255, 255))
            self.paint_water(self.horizon, 0.82)
            self.band([y - 0.012 for y in self.wave(self.horizon + 0.15, 0.018, 1.2)], foam, foam)
            self.band(self.wave(self.horizon + 0.155, 0.018, 1.2), light, dark, 0.3)
        elif self.s.ground == "lake":
            self.paint_lake()
        else:
            self.paint_sea()

    def paint_land(self) -> None:
        """Three folds of meadow, desert or snow."""
        s, r, h = self.s, self.r, self.horizon
        light, dark = (self.lit(c) for c in LAND[s.ground])
        far = self.lit(LAND[s.ground][0], 2)
        for k, (y, amp, share) in enumerate(((h, 0.008, 0.7), (h + 0.09, 0.02, 0.3), (h + 0.2, 0.03, 0))):
            a = mix(light, far, share)
            self.band(self.wave(y, amp, 1.1), a, mix(a, dark, 0.85), 0.3)
            if k == 0 and s.trees:
                self.paint_pines(h + 0.03)
        if s.ground == "meadow":
            for _ in range(26):
                x, y = r.random(), r.uniform(h + 0.16, 0.99)
                self.oval(x, y, 0.006, 0.006, self.obj(r.choice(FLOWERS)))
        if s.ground == "desert":
            for x in (r.uniform(0.05, 0.3), r.uniform(0.7, 0.95)):
                y, k = r.uniform(h + 0.1, 0.9), r.uniform(0.05, 0.08)
                green = self.lit((78, 128, 74))
                self.line([(x, y), (x, y - 1.4 * k)], 0.02, green)
                arm = [(x, y - 0.5 * k), (x + 0.5 * k, y - 0.5 * k), (x + 0.5 * k, y - 1.0 * k)]
                self.line(arm, 0.013, green)

    def paint_lake(self) -> None:
        """Still water which mirrors what is above the horizon, and the near shore."""
        s, n, h = self.s, self.n, self.horizon
        light, dark = (self.lit(c) for c in LAND["lake"])
        self.paint_water(h, 1)
        above = self.image.crop((0, int(n * (2 * h - 1)), n, int(n * h)))
        layer = Image.new("RGB", (n, n))
        layer.paste(above.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, int(n * h)))
        self.paste(layer, [(0, h), (1, h), (1, 1), (0, 1)], 110)
        far = self.lit(LAND["lake"][1], 1.6)
        self.poly([(0, h - 0.012), (1, h - 0.012), (1, h + 0.012), (0, h + 0.012)], far)
        if s.trees:
            self.paint_pines(h)
        self.paint_ripples(h + 0.05, 0.8, 9)
        if s.object == "boat":
            shore = [y + 0.10 * abs(2 * i / 32 - 1) for i, y in enumerate(self.wave(0.83, 0.012, 1))]
        else:
            shore = self.wave(0.80, 0.016, 1)
        self.band(shore, light, dark, 0.2)

    def paint_sea(self) -> None:
        """Open water, with a rock where an object needs one to stand on."""
        light, dark = (self.lit(c) for c in LAND["sea"])
        self.paint_water(self.horizon, 1)
        self.paint_ripples(self.horizon + 0.03, 0.98, 22)
        if self.s.object not in AFLOAT:
            x = object_x(self.s)
            self.oval(x, 0.865, 0.24, 0.05, self.lit((255, 255, 255)))
            self.oval(x, 0.855, 0.225, 0.055, dark)
            self.oval(x, 0.838, 0.205, 0.045, light)

    def paint_water(self, y0: float, y1: float) -> None:
        """Water between two heights, with the glitter of sun or moon."""
        a = mix(self.lit((96, 190, 214), 0.8), self.sky[2], 0.45)
        b = mix(self.lit((24, 92, 150), 0.6), self.sky[1], 0.22)
        self.paste(self.gradient([(y0, a), (y1, b)]), [(0, y0), (1, y0), (1, y1), (0, y1)])
        if self.light:
            x, core = self.light
            for k in range(7):
                y, w = y0 + 0.015 + 0.032 * k, 0.05 * self.r.uniform(0.5, 1.2)
                if y < y1:
                    self.line([(x - w, y), (x + w, y)], 0.009, mix(a, core, 0.75))

    def paint_ripples(self, y0: float, y1: float, count: int) -> None:
        """Short bright lines on water, longer towards the viewer."""
        c = mix(self.lit((190, 226, 236), 0.5), self.sky[2], 0.4)
        for _ in range(count):
            x, y = self.r.random(), self.r.uniform(y0, y1)
            w = 0.02 + 0.05 * (y - y0)
            self.line([(x - w, y), (x + w, y)], 0.006, c)

    def paint_pines(self, y: float) -> None:
        """A row of pine trees standing at height y."""
        c = self.lit((46, 100, 66), 1.3)
        for _ in range(self.r.randint(9, 13)):
            x, k = self.r.random(), self.r.uniform(0.05, 0.09)
            for j in range(3):
                w, b = k * (0.36 - 0.08 * j), y - k * 0.3 * j
                self.poly([(x - w, b), (x, b - k * 0.55), (x + w, b)], shade(c, 1 - 0.08 * (2 - j)))

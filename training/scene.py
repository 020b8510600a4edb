"""What a picture may show: the Scene, the values of its fields, and random consistent scenes."""

import dataclasses
import random

TIMES = ("dawn", "noon", "sunset", "night")
BACKGROUNDS = ("none", "mountains", "snowy mountains", "hills")
GROUNDS = ("meadow", "desert", "snow", "lake", "sea", "beach")
OBJECTS = ("none", "house", "tree", "castle", "tower", "lighthouse", "windmill", "boat", "balloon", "dragon")
OBJECT_WEIGHTS = (10, 16, 12, 11, 7, 10, 8, 10, 10, 8)
POSITIONS = ("left", "center", "right")

RGB = tuple[float, float, float]

COLORS: dict[str, RGB] = {
    "red": (214, 40, 44),
    "orange": (245, 130, 32),
    "yellow": (250, 208, 50),
    "green": (58, 160, 68),
    "blue": (44, 98, 214),
    "purple": (130, 62, 184),
    "pink": (246, 128, 178),
    "white": (242, 242, 238),
    "black": (42, 42, 50),
    "brown": (138, 86, 46),
}


@dataclasses.dataclass
class Scene:
    """What a picture shows; ``seed`` fixes everything that has no name (shapes, small offsets)."""

    time: str = "noon"
    background: str = "none"
    ground: str = "meadow"
    object: str = "none"
    color: str = "red"
    position: str = "center"
    sun: bool = False
    moon: bool = False
    clouds: bool = False
    stars: bool = False
    snowfall: bool = False
    trees: bool = False
    seed: int = 0


def sample_scene(seed: int) -> Scene:
    """A random, self-consistent scene (no boats on dry land, no sun at night)."""
    r = random.Random(seed)
    scene = Scene(time=r.choice(TIMES), background=r.choice(BACKGROUNDS), ground=r.choice(GROUNDS), seed=seed)
    scene.object = r.choices(OBJECTS, OBJECT_WEIGHTS)[0]
    if scene.object == "boat" and scene.ground not in ("lake", "sea"):
        scene.ground = r.choice(("lake", "sea"))
    scene.color, scene.position = r.choice(tuple(COLORS)), r.choice(POSITIONS)
    night = scene.time == "night"
    scene.sun = not night and r.random() < 0.5
    scene.moon = night and r.random() < 0.6
    scene.stars = night and r.random() < 0.7
    scene.clouds = r.random() < 0.45
    scene.snowfall = r.random() < (0.3 if scene.ground == "snow" else 0.05)
    scene.trees = scene.ground in ("meadow", "snow", "lake") and r.random() < 0.4
    return scene


def moved_scene(scene: Scene) -> Scene:
    """The same scene with its object at another position; a painter changes nothing else."""
    others = [position for position in POSITIONS if position != scene.position]
    return dataclasses.replace(scene, position=random.Random(scene.seed + 77).choice(others))

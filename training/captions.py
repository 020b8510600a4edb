"""Scenes in words: random captions as people write prompts."""

import random

from training.scene import Scene

WORDS: dict[str, tuple[str, ...]] = {
    "dawn": (
        "at dawn",
        "at sunrise",
        "in the early morning",
        "dawn",
        "sunrise",
        "morning light",
        "pink dawn sky",
    ),
    "noon": (
        "at noon",
        "at midday",
        "in daylight",
        "noon",
        "on a sunny day",
        "daytime",
        "bright day",
        "blue sky",
    ),
    "sunset": (
        "at sunset",
        "at dusk",
        "in the evening",
        "sunset",
        "golden hour",
        "orange sunset sky",
        "evening light",
    ),
    "night": (
        "at night",
        "at midnight",
        "night",
        "night sky",
        "in the dark",
        "dark night",
        "moonlit night",
    ),
    "mountains": (
        "mountains",
        "tall mountains",
        "rocky mountains",
        "a mountain range",
        "mountains in the background",
        "a mountain landscape",
    ),
    "snowy mountains": (
        "snowy mountains",
        "snow capped mountains",
        "snowy peaks",
        "mountains with snow",
        "alps",
    ),
    "hills": ("hills", "rolling hills", "green hills", "gentle hills"),
    "meadow": (
        "a meadow",
        "a green meadow",
        "grass",
        "a grassy field",
        "a field of flowers",
        "grassland",
        "countryside",
        "a green field",
    ),
    "desert": ("a desert", "sand dunes", "a sandy desert", "desert", "a dry desert with cactus"),
    "snow": ("snow", "a snowy field", "a winter landscape", "snowy ground", "white snow", "winter"),
    "lake": ("a lake", "a calm lake", "a serene lake", "a lake with reflections", "a pond", "a lake shore"),
    "sea": ("the sea", "the ocean", "a calm sea", "an island in the sea", "blue sea", "ocean waves"),
    "beach": ("a beach", "a sandy beach", "the seaside", "the coast", "a sandy shore"),
    "house": ("house", "house", "cottage", "cabin", "home"),
    "tree": ("tree", "tree", "big tree"),
    "castle": ("castle", "castle", "palace", "fortress"),
    "tower": ("tower", "tower", "tall tower"),
    "lighthouse": ("lighthouse",),
    "windmill": ("windmill", "windmill", "mill"),
    "boat": ("boat", "boat", "sailboat", "ship", "sailing boat"),
    "balloon": ("balloon", "hot air balloon", "hot air balloon"),
    "dragon": ("dragon", "dragon", "flying dragon"),
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "black": ("black",),
    "brown": ("brown", "brown", "wooden"),
    "left": ("on the left", "on the left side", "at left", "to the left"),
    "right": ("on the right", "on the right side", "at right", "to the right"),
    "center": ("in the center", "in the middle", "at the center", "centered"),
    "sun": ("sun", "the sun", "a bright sun", "shining sun"),
    "moon": ("moon", "the moon", "full moon", "a bright moon"),
    "clouds": ("clouds", "cloudy sky", "fluffy clouds", "a few clouds"),
    "stars": ("stars", "starry sky", "many stars", "a starry night"),
    "snowfall": ("falling snow", "snowfall", "snowing", "snowflakes"),
    "trees": ("pine trees", "a pine forest", "forest", "trees in the background"),
}
OPENINGS = (
    "",
    "",
    "",
    "",
    "",
    "a beautiful ",
    "an illustration of ",
    "a painting of ",
    "a picture of ",
    "a photo of ",
    "a scene with ",
    "beautiful scenery, ",
    "flat vector art of ",
    "digital painting, ",
    "landscape, ",
    "a peaceful view of ",
)
CLOSINGS = (
    "",
    "",
    "",
    "",
    "",
    ", masterpiece, best quality",
    ", highly detailed",
    ", beautiful scenery",
    ", flat illustration",
    ", vibrant colors",
    ", 4k",
)
EXTRAS = ("sun", "moon", "clouds", "stars", "snowfall", "trees")


def article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def object_phrase(scene: Scene, r: random.Random, keep: float = 0.9, place: bool = False) -> str:
    """E.g. "a red house on the left"; colour and position are left out now and then.

    ``place`` keeps the position in every case, with the same random choices for each position.
    """
    words = [r.choice(WORDS[scene.object])]
    if r.random() < keep:
        words.insert(0, r.choice(WORDS[scene.color]))
    phrase = article(" ".join(words))
    if r.random() < keep - 0.15 or place:
        phrase += " " + r.choice(WORDS[scene.position])
    return phrase


def caption(scene: Scene, r: random.Random, keep: float = 0.85, place: bool = False) -> str:
    """A random way to describe the scene.

    Args:
        scene: What to describe.
        r: Source of every choice.
        keep: Chance that each fact is mentioned.
        place: Always mention the object and where it stands.
    """
    ground, time = r.choice(WORDS[scene.ground]), r.choice(WORDS[scene.time])
    has_object = scene.object != "none" and (r.random() < 0.95 or place)
    parts = []
    if has_object and r.random() < 0.3:
        phrase = object_phrase(scene, r, place=place)
        parts.append(phrase + r.choice((" in ", " by ", " near ", ", ")) + ground)
    else:
        if has_object:
            parts.append(object_phrase(scene, r, place=place))
        if r.random() < keep:
            parts.append(ground)
    if r.random() < keep:
        if parts and r.random() < 0.5:
            parts[-1] += (" " if time.split()[0] in ("at", "in", "on") else ", ") + time
        else:
            parts.append(time)
    if scene.background != "none" and r.random() < keep:
        parts.append(r.choice(WORDS[scene.background]))
    parts += [r.choice(WORDS[extra]) for extra in EXTRAS if getattr(scene, extra) and r.random() < keep]
    if r.random() < 0.6:
        r.shuffle(parts)
    text = r.choice(OPENINGS) + r.choice((", ", ", ", " and ", " with ")).join(parts) + r.choice(CLOSINGS)
    return text or time

"""The picture and caption generator: random scenes, painted and described; and rendered sets of them.

Everything is a function of integer seeds.

    python -m training.scenes --count 24000                  # data/images-128.npy, data/scenes-128.json
    python -m training.scenes --count 12000 --moved          # the same scenes, their objects elsewhere
    python -m training.scenes --count 1300 --size 256 --first-seed 4560000
"""

import argparse
import dataclasses
import json
import multiprocessing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.captions import WORDS, caption
from training.objects import Painter
from training.scene import COLORS, POSITIONS, Scene, moved_scene, sample_scene

__all__ = ["COLORS", "POSITIONS", "WORDS", "Scene", "caption", "moved_scene", "render", "sample_scene"]


def render(scene: Scene, size: int = 128) -> Image.Image:
    """Paint a scene as an RGB Pillow image."""
    return Painter(scene, size).paint()


def render_array(job: tuple[Scene, int]) -> NDArray[np.uint8]:
    """A scene painted at a size, as [size, size, 3]."""
    return np.asarray(render(*job))


def write_set(out: Path, name: str, scenes: list[Scene], size: int) -> None:
    """Render scenes on all cores and write images-NAME.npy and scenes-NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    shape = (len(scenes), size, size, 3)
    images = np.lib.format.open_memmap(out / f"images-{name}.npy", "w+", np.uint8, shape)
    with multiprocessing.Pool() as pool:
        jobs = ((scene, size) for scene in scenes)
        for i, image in enumerate(pool.imap(render_array, jobs, chunksize=64)):
            images[i] = image
    images.flush()
    described = json.dumps([dataclasses.asdict(scene) for scene in scenes])
    (out / f"scenes-{name}.json").write_text(described)


def main() -> None:
    """Write one picture set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=24000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("--moved", action="store_true", help="only scenes with an object, and that elsewhere")
    parser.add_argument("--out", type=Path, default=Path("data"))
    args = parser.parse_args()
    scenes = [sample_scene(seed) for seed in range(args.first_seed, args.first_seed + args.count)]
    name = str(args.size)
    if args.moved:
        name += "-moved"
        scenes = [moved_scene(scene) for scene in scenes if scene.object != "none"]
    write_set(args.out, name, scenes, args.size)


if __name__ == "__main__":
    main()

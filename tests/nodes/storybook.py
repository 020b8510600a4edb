"""The embedded model's files, and the parts of it as the loader gives them."""

from functools import cache
from pathlib import Path

from engine.devices import Devices
from engine.files import Files
from nodes import PACK
from nodes.diffusion import families
from nodes.diffusion.families import Checkpoint

FOLDER = PACK.items["checkpoints"]["storybook"]


def files_under(base: Path) -> Files:
    """The usual folders under a base folder, and the files that come with the pack."""
    return Files.under(base, items=PACK.items)


@cache
def storybook() -> Checkpoint:
    """The embedded checkpoint on the CPU; loaded once, its networks when they are first used."""
    return families.checkpoint(FOLDER, "storybook", Devices("cpu"))

"""At which rung the model calls of a batch's nodes go: by how many of its jobs could share them."""

from collections.abc import Iterable, Mapping, Sequence

from engine.cache import KeyParts
from engine.graph import GraphNode
from engine.groups import LADDER
from engine.keys import ONCE
from engine.ports import Hint

WINDOW = 16
"""Jobs that are taken to be under way together."""
ALONE = 0
"""In place of a rung: a node's calls are batched with nothing else's."""


class Shapes:
    """Numbers for nodes: those of one number agree in everything that may decide shapes.

    That is their class and their literals, without texts, seeds and numbers with a fraction, and the same of
    all that they are linked to. Nodes of one key have one number.
    """

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def of(self, node: GraphNode, parts: KeyParts, shapes: Mapping[str, int]) -> int:
        """The number of a node.

        Args:
            shapes: Of all nodes that it is linked to, by id.
        """
        free = {v.name for v in node.node.inputs if _is_free(v.kind, v.facts)}
        literals = tuple(
            (port, ONCE if text.startswith(ONCE) else text)
            for port, text in sorted(parts.literals.items())
            if port not in free
        )
        links = tuple(sorted((port, shapes[link.node_id], link.slot) for port, link in node.links.items()))
        signature = (parts.class_type, literals, links)
        return self._numbers.setdefault(signature, len(self._numbers))


def _is_free(kind: str, facts: Iterable[object]) -> bool:
    return kind in ("STRING", "FLOAT") or any(
        isinstance(f, Hint) and f.key == "control_after_generate" and f.value for f in facts
    )


def rungs_of(jobs: Sequence[Iterable[tuple[int, str]]], limit: int) -> dict[int, int]:
    """The rung of the nodes of each shape, or `ALONE`.

    It is the largest of the ladder that is filled by the keys which a window of jobs adds, on average over
    the windows that add any; so it depends on the whole batch and on nothing else.

    Args:
        jobs: For each job of the whole batch, in order, the shape and the key of its nodes.
        limit: The largest rung that is wanted.
    """
    seen: set[str] = set()
    keys: dict[int, int] = {}
    windows: dict[int, set[int]] = {}
    for number, job in enumerate(jobs):
        for shape, key in job:
            if key not in seen:
                seen.add(key)
                keys[shape] = keys.get(shape, 0) + 1
                windows.setdefault(shape, set()).add(number // WINDOW)
    return {shape: _rung(count / len(windows[shape]), limit) for shape, count in keys.items()}


def _rung(mean: float, limit: int) -> int:
    fitting = [rung for rung in LADDER if rung <= min(limit, mean)]
    return fitting[-1] if fitting and fitting[-1] >= 2 else ALONE

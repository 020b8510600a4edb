"""Prompts that ask for more memory than there is, found by what their literals say before anything runs."""

import math
from collections.abc import Iterator
from typing import Any

import psutil

from engine.graph import Graph, GraphNode
from engine.problems import Problem

SIDES = (("width", "height"), ("target_width", "target_height"))
COUNTS = ("batch_size", "length", "amount")
MOST = 10**18
"""Larger numbers count as this one: they may be too large for a float."""
BYTES_A_PIXEL = 12
"""Three float32 channels, as pictures are computed with."""


def too_big(graph: Graph, megapixels: float) -> Iterator[Problem]:
    """The nodes whose literals ask for larger pictures than allowed, or than fit the memory that is free."""
    free: int | None = None
    for id, node in graph.nodes.items():
        pixels, port = _pixels(node)
        if pixels <= 4e6:
            continue
        if pixels > megapixels * 1e6:
            yield Problem(
                "too_large",
                f"asks for {pixels / 1e6:.0f} megapixels in all; at most {megapixels:g} are allowed",
                id,
                node.node.name,
                port,
                "make it smaller or fewer, or raise the server's max_megapixels",
            )
            continue
        free = psutil.virtual_memory().available if free is None else free
        if pixels * BYTES_A_PIXEL > free:
            yield Problem(
                "too_large",
                f"needs {pixels * BYTES_A_PIXEL / 2**30:.1f} GB; {free / 2**30:.1f} GB are free",
                id,
                node.node.name,
                port,
                "make it smaller or fewer",
            )


def _pixels(node: GraphNode) -> tuple[float, str]:
    """The pixels that a node is asked for, and the input that asks for most."""
    ports = (p for p in (*sum(SIDES, ()), *COUNTS) if _number(node.literals.get(p)))
    asked = {p: float(min(node.literals[p], MOST)) for p in ports}
    found = max((asked[w] * asked[h] for w, h in SIDES if w in asked and h in asked), default=0.0)
    if not found:
        return 0.0, ""
    counts = [asked[p] for p in COUNTS if p in asked]
    return found * math.prod(max(1.0, c) for c in counts), max(asked, key=lambda p: asked[p])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0

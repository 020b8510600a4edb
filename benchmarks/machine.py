"""What a figure was measured on, how figures grow, and tables of them as text."""

import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def described(*packages: str) -> str:
    """Date, processor, load and versions, a line each."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())
    versions = ", ".join(f"{p} {_version(p)}" for p in packages)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; {os.cpu_count()} × {model}; "
        f"load {os.getloadavg()[0]:.1f}\nPython {sys.version.split()[0]}, {versions}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(absent)"


def exponent(points: Iterable[tuple[int, float]]) -> float:
    """The slope of a line through log time over log size: 1 is linear."""
    logs = [(math.log(n), math.log(t)) for n, t in points]
    x, y = (sum(p[i] for p in logs) / len(logs) for i in (0, 1))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    lines = [[*head], ["-" * (w - 1) + ":" for w in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) for c, w in zip(x, widths, strict=True)) + " |" for x in lines
    )

"""What the engine costs per node: chains, trees and rows of outputs, beside NetworkX and Dask."""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from machine import described, exponent, table

SIZES = (10, 100, 1_000, 10_000)
SHAPES = ("chain", "tree", "outputs")
KINDS = ("ours", "networkx", "dask")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS[os.environ.get("CLOCK", "wall")]


def edges(shape: str, n: int) -> list[tuple[int, ...]]:
    """For each of n nodes the nodes that it adds up: a chain, a tree (widest row: half) or pairs."""
    if shape == "chain":
        return [(i - 1,) if i else () for i in range(n)]
    if shape == "outputs":
        return [(i - n // 2,) if i >= n // 2 else () for i in range(n)]
    leaves = (n + 1) // 2
    below = [(2 * (i - leaves), 2 * (i - leaves) + 1) for i in range(n)]
    return [tuple(j for j in near if 0 <= j < i) if i >= leaves else () for i, near in enumerate(below)]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(fn: Callable[[], Any]) -> tuple[float, Any]:
    started = clock()
    value = fn()
    return clock() - started, value


def ours(shape: str, n: int) -> dict[str, float]:
    from engine.cache import Tiers
    from engine.cache.memory import MemoryTier
    from engine.node import node
    from engine.plan import make_plan
    from engine.ports import Env, Written
    from engine.registry import Registry
    from engine.runner import Engine
    from engine.workflow import from_json
    from nodes.image_files import ExtraInfo, Prompt

    @node("Add", category="benchmark")
    def add(*, a: int = 0, b: int = 0) -> int:
        """Add two numbers."""
        return a + b + 1

    @node("Out", category="benchmark", is_output=True)
    def out(*, a: int) -> int:
        """Take the result."""
        return a

    @node("Told", category="benchmark", is_output=True)
    def told(*, a: int, b: int = 0, prompt: Prompt = None, extra_pnginfo: ExtraInfo = None) -> int:
        """Take a result, and how it was made as it would be written into a file."""
        assert isinstance(prompt, Written)
        return a + b + len(prompt.text) + len(json.dumps(extra_pnginfo))

    value: dict[str, Any] = {
        str(i): {
            "class_type": "Told" if near and shape == "outputs" else "Add",
            "inputs": {"a": i, "b": 0} | {k: [str(j), 0] for k, j in zip("ab", near, strict=False)},
        }
        for i, near in enumerate(edges(shape, n - 1))
    }
    value["out"] = {"class_type": "Out", "inputs": {"a": [str(n - 2), 0]}}
    before = peak_mb()
    tiers, registry, env = Tiers([MemoryTier(2**30)]), Registry().with_nodes(add, out, told), Env()
    workflow = from_json(value)
    plan_s, plan = timed(lambda: make_plan(workflow, registry, env, tiers))
    with Engine(registry, env, tiers) as engine:
        run_s, run = timed(lambda: engine.run(plan))
        again_s, again = timed(lambda: engine.run(make_plan(workflow, registry, env, tiers)))
    assert run.status == again.status == "success"
    assert len(run.executed) == n
    assert not again.executed
    return {
        "plan": plan_s,
        "run": run_s,
        "total": plan_s + run_s,
        "cached": again_s,
        "mb": peak_mb() - before,
    }


def add_all(*values: int) -> int:
    return sum(values) + 1


def by_networkx(shape: str, n: int) -> dict[str, float]:
    import networkx as nx

    before = peak_mb()

    def go() -> int:
        near = edges(shape, n)
        graph = nx.DiGraph((j, i) for i, js in enumerate(near) for j in js)
        graph.add_nodes_from(range(n))
        values: dict[int, int] = {}
        for i in nx.topological_sort(graph):
            values[i] = add_all(*(values[j] for j in near[i]))
        return values[n - 1]

    return {"total": timed(go)[0], "mb": peak_mb() - before}


def by_dask(shape: str, n: int) -> dict[str, float]:
    import dask.threaded

    before = peak_mb()

    def go() -> Any:
        graph = {f"n{i}": (add_all, *(f"n{j}" for j in near)) for i, near in enumerate(edges(shape, n))}
        return dask.threaded.get(graph, f"n{n - 1}")

    return {"total": timed(go)[0], "mb": peak_mb() - before}


def one(kind: str, shape: str, n: int) -> dict[str, float] | None:
    """The best of 2 to 10 measurements in a process of its own; None where the peer is absent or fails."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", kind, shape, str(n)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{kind} {shape} {n}: {(done.stderr.strip().splitlines() or ['failed'])[-1]:.120}")
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    print(described("networkx", "dask"))
    print(f"clock: {os.environ.get('CLOCK', 'wall')}")
    for shape in SHAPES:
        rows, times = [], dict[str, list[tuple[int, float]]]()
        for n in SIZES:
            found = {kind: one(kind, shape, n) for kind in KINDS}
            us = found["ours"]
            if us is None:
                continue
            for name in ("plan", "run", "cached"):
                times.setdefault(name, []).append((n, us[name]))
            peers = [us["total"] / f["total"] if (f := found[k]) else math.nan for k in ("networkx", "dask")]
            cells = [f"{n:,}", *(f"{us[k] * 1e3:.1f}" for k in ("plan", "run", "cached"))]
            cells += [f"{us['total'] / n * 1e6:.0f}", f"{us['mb']:.0f}", *(f"{p:.1f}" for p in peers)]
            rows.append(cells)
        head = [
            "nodes",
            "bind+check+plan ms",
            "run ms",
            "again, cached ms",
            "µs a node",
            "MB",
            "× networkx",
            "× dask",
        ]
        print(f"\n{shape}\n{table(head, rows)}")
        slopes = (f"{k} {exponent([p for p in v if p[0] >= 100]):.2f}" for k, v in times.items())
        print(f"exponents, from 100 nodes: {', '.join(slopes)}")
    print("\nNot measured here, from ComfyUI's issues: 17 s for a chain of 500 nodes, and 1,000 are refused.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3)
    chosen = parser.parse_args().one
    if chosen:
        measure = {"ours": ours, "networkx": by_networkx, "dask": by_dask}[chosen[0]]
        times = max(2, min(10, 5_000 // int(chosen[2])))
        found = [measure(chosen[1], int(chosen[2])) for _ in range(times)]
        print(json.dumps({k: (max if k == "mb" else min)(f[k] for f in found) for k in found[0]}))
    else:
        main()

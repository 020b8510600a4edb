"""A sweep as one batch: nodes shared, time beside a loop of `latentgraph run`, planning as jobs grow."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from machine import described, exponent, table

WORKFLOW = "text_to_image"
GROWTH = (300, 3_000, 30_000)
THINGS = ("house", "castle", "lighthouse", "tree", "boat", "mill", "tower", "barn", "bridge", "tent")
PLACES = ("a green meadow", "a desert", "the sea", "hills", "snow", "a forest", "a lake", "a beach")
COLORS = ("red", "blue", "white", "yellow", "green")
Job = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A product of prompts, seeds and guidance values.

    Args:
        sample: The first jobs, which the two others run.
    """

    prompts: int
    seeds: int
    cfgs: int
    steps: int
    size: int
    sample: int
    folder: Path

    @property
    def jobs(self) -> list[Job]:
        texts = [f"a {c} {t}, {p}" for p, t, c in product(PLACES, THINGS, COLORS)]
        names = ("Prompt.text", "Sampler.seed", "Sampler.cfg")
        values = (texts[: self.prompts], range(1, self.seeds + 1), [2.0 + i for i in range(self.cfgs)])
        return [dict(zip(names, job, strict=True)) for job in product(*values)]

    @property
    def constants(self) -> list[str]:
        sizes = (f"Size.width={self.size}", f"Size.height={self.size}", f"Sampler.steps={self.steps}")
        return [word for text in sizes for word in ("--set", text)]

    def batch(self, name: str, *options: str) -> list[str]:
        """The command of the whole sweep, with a product of three axes."""
        file = self.folder / "prompts.json"
        jobs = self.jobs
        file.write_text(json.dumps(list(dict.fromkeys(job["Prompt.text"] for job in jobs))))
        cfgs = json.dumps(list(dict.fromkeys(job["Sampler.cfg"] for job in jobs)))
        axes = (f"Prompt.text=@{file}", f"Sampler.seed=1..{self.seeds}", f"Sampler.cfg={cfgs}")
        varied = [word for text in axes for word in ("--vary", text)]
        return ["batch", WORKFLOW, *varied, *self.constants, "--output", str(self.folder / name), *options]

    def sampled(self, name: str, *options: str) -> list[str]:
        """The command of a batch of the sample."""
        file = self.folder / "sample.jsonl"
        file.write_text("".join(json.dumps(job) + "\n" for job in self.jobs[: self.sample]))
        output = str(self.folder / name)
        return ["batch", WORKFLOW, "--jobs", str(file), *self.constants, "--output", output, *options]


@dataclass(frozen=True)
class Ran:
    """A process that has ended: seconds, peak of its memory in MB, the JSON lines that it printed."""

    seconds: float
    mb: float
    lines: list[dict[str, Any]]

    def line(self, event: str) -> dict[str, Any]:
        return next(x for x in reversed(self.lines) if x["event"] == event)


def ran(words: Sequence[str], cache: Path) -> Ran:
    """Run `latentgraph` in a process of its own, with a disk cache of its own."""
    environment = os.environ | {"LATENTGRAPH_CACHE": str(cache)}
    command = [sys.executable, "-c", "from engine.cli import main; main()", *words, "--json"]
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        said.seek(0)
        lines = [json.loads(text) for text in said.read().splitlines()]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}, {lines[-2:]}")
    return Ran(seconds, usage.ru_maxrss / 1024, lines)


def nodes_of(manifest: Path) -> tuple[int, int]:
    """Nodes that ran, and how many of them were distinct, counted from a manifest alone."""
    ran, distinct = 0, set()
    for line in map(json.loads, manifest.read_text().splitlines()):
        ran += len(line["executed"])
        distinct |= {line["keys"].get(id, (line["job"], id)) for id in line["executed"]}
    return ran, len(distinct)


def compared(sweep: Sweep) -> None:
    """The sweep as a batch, beside a loop of processes and one job at a time, each with its own cache."""
    jobs = len(sweep.jobs)
    whole = ran(sweep.batch("whole"), sweep.folder / "cache-whole")
    executed, distinct = nodes_of(sweep.folder / "whole" / "manifest.jsonl")
    planned = whole.line("planned")
    print(
        f"\n{jobs:,} jobs ({sweep.prompts} prompts x {sweep.seeds} seeds x {sweep.cfgs} guidances, "
        f"{sweep.steps} steps, {sweep.size} px); they ask for {planned['asked']:,} nodes.\n"
        f"Predicted to run: {planned['predicted']:,}; ran: {executed:,}, of them distinct: {distinct:,}. "
        f"Rungs: {planned['rungs']}"
    )
    again = ran(sweep.batch("whole"), sweep.folder / "cache-whole")
    begin = ran(sweep.sampled("dry", "--dry-run"), sweep.folder / "cache-dry").seconds
    alone = ran(sweep.sampled("alone", "--at-once", "1", "--exact"), sweep.folder / "cache-alone")
    loop, peak = 0.0, 0.0
    for job in sweep.jobs[: sweep.sample]:
        sets = [word for name, value in job.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        output = str(sweep.folder / "loop")
        one = ran(["run", WORKFLOW, *sets, *sweep.constants, "--output", output], sweep.folder / "cache-loop")
        loop, peak = loop + one.seconds, max(peak, one.mb)
    sample = min(sweep.sample, jobs)
    scaled_loop = loop / sample * jobs
    scaled_alone = begin + max(alone.seconds - begin, 0.0) / sample * jobs
    rows = [
        row("`latentgraph batch`", jobs, whole.seconds, whole.seconds, whole.mb, whole.seconds),
        row(
            "the same again, nothing left to do", jobs, again.seconds, again.seconds, again.mb, whole.seconds
        ),
        row("one job at a time, rows alone", sample, alone.seconds, scaled_alone, alone.mb, whole.seconds),
        row("a loop of `latentgraph run`", sample, loop, scaled_loop, peak, whole.seconds),
    ]
    head = ["", "jobs run", "seconds", f"for {jobs:,} jobs", "s a job", "peak MB", "× batch"]
    print("\n" + table(head, rows))
    if sample < jobs:
        print(
            f"\nThe last two ran the first {sample} jobs; the column after is what {jobs:,} take at that\n"
            f"rate (one job at a time: without the {begin:.1f} s of the start). These jobs share more with\n"
            "each other than others would, which favours the two."
        )


def row(name: str, jobs: int, seconds: float, all_jobs: float, mb: float, whole: float) -> list[str]:
    rate = f"{seconds / jobs:.2f}"
    return [
        name,
        f"{jobs:,}",
        f"{seconds:.1f}",
        f"{all_jobs:,.0f}",
        rate,
        f"{mb:,.0f}",
        f"{all_jobs / whole:.2f}",
    ]


# ------------------------------------------------------------ in processes of their own


def sheet(folder: str, prompts: int, seeds: int, cfgs: int) -> dict[str, float]:
    """Time of the contact sheet of a batch that has ended."""
    sys.path.remove(str(Path(__file__).parent))  # the server.py there is not the package
    from engine.batch.reading import read_batch
    from engine.registry import installed
    from engine.workflow import load
    from server.batch.contact_sheet import write_contact_sheet

    base = Path(folder)
    registry = installed()
    workflow = load(Path(__file__).parents[1] / "workflows" / f"{WORKFLOW}.json")
    jobs = Sweep(prompts, seeds, cfgs, 0, 0, 0, base.parent).jobs
    axes = {name: list(dict.fromkeys(job[name] for job in jobs)) for name in jobs[0]}
    batch = read_batch(workflow, registry, [f"{name}={json.dumps(v)}" for name, v in axes.items()])
    lines = [json.loads(line) for line in (base / "manifest.jsonl").read_text().splitlines()]
    before = peak_mb()
    begun = time.perf_counter()
    write_contact_sheet(base, batch, lines)
    seconds = time.perf_counter() - begun
    pages = len(list(base.glob("contact_sheet*.png")))
    html = (base / "contact_sheet.html").stat().st_size / 2**20
    return {"jobs": len(jobs), "seconds": seconds, "mb": peak_mb() - before, "pages": pages, "html": html}


def planned(jobs: int) -> dict[str, float]:
    """Time of reading and planning a sweep of so many jobs, with nothing cached."""
    from engine.batch.planning import plan_batch
    from engine.batch.reading import read_batch
    from engine.cache import Tiers
    from engine.cache.memory import MemoryTier
    from engine.config import make_env, read_settings
    from engine.registry import installed
    from engine.runner import Engine
    from engine.workflow import load

    registry, tiers = installed(), Tiers([MemoryTier(2**30)])
    workflow = load(Path(__file__).parents[1] / "workflows" / f"{WORKFLOW}.json")
    texts = json.dumps([f"a house, number {i}" for i in range(jobs // 30)])
    vary = [f"Prompt.text={texts}", "Sampler.seed=1..10", "Sampler.cfg=2,3,4"]
    with (
        tempfile.TemporaryDirectory() as base,
        Engine(
            registry, make_env(read_settings(base_directory=Path(base)), registry, tiers), tiers
        ) as engine,
    ):
        plan_batch(read_batch(workflow, registry, ["Sampler.seed=1..2"]), engine)  # files are hashed once
        before = peak_mb()
        begun = time.perf_counter()
        batch = read_batch(workflow, registry, vary)
        read = time.perf_counter()
        plan = plan_batch(batch, engine)
        done = time.perf_counter()
    assert len(batch.jobs) == jobs
    return {"read": read - begun, "plan": done - read, "nodes": plan.runs, "mb": peak_mb() - before}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(*words: str) -> dict[str, float]:
    """What this script prints for some arguments, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", *words], stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth() -> None:
    """Reading and planning as the number of jobs grows."""
    found = {n: apart("plan", str(n)) for n in GROWTH}
    head = ["jobs", "nodes to run", "read s", "plan s", "µs a job", "MB"]
    rows = [
        [
            *(f"{n:,}", f"{f['nodes']:,.0f}", f"{f['read']:.2f}", f"{f['plan']:.2f}"),
            *(f"{(f['read'] + f['plan']) / n * 1e6:.0f}", f"{f['mb']:.0f}"),
        ]
        for n, f in found.items()
    ]
    print("\n" + table(head, rows))
    slopes = (f"{k} {exponent((n, f[k]) for n, f in found.items()):.2f}" for k in ("read", "plan"))
    print(f"exponents: {', '.join(slopes)}")


def main(asked: argparse.Namespace) -> None:
    print(described("torch", "pillow"))
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '(unset)')}")
    with tempfile.TemporaryDirectory() as folder:
        sizes = (asked.prompts, asked.seeds, asked.cfgs)
        sweep = Sweep(*sizes, asked.steps, asked.size, asked.sample, Path(folder))
        if not asked.only_growth:
            compared(sweep)
            found = apart("sheet", str(sweep.folder / "whole"), *map(str, sizes))
            print(
                f"\nContact sheet of {found['jobs']:,} jobs: {found['seconds']:.1f} s, "
                f"{found['pages']} pages, {found['html']:.1f} MB of HTML, {found['mb']:.0f} MB more memory."
            )
    if not asked.no_growth:
        growth()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100, help="at most 400")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cfgs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--sample", type=int, default=30, help="jobs of the loop and of one at a time")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--only-growth", action="store_true")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    match chosen.one:
        case ["plan", jobs]:
            print(json.dumps(planned(int(jobs))))
        case ["sheet", folder, *sizes]:
            print(json.dumps(sheet(folder, *map(int, sizes))))
        case _:
            main(chosen)

"""What a batch will do: its jobs merged by key, what the cache has, how often each result is needed."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from engine.batch import Batch, BatchJob
from engine.batch.binding import Binder, Bound
from engine.batch.reading import refuse
from engine.batch.rungs import rungs_of
from engine.cache.disk import DiskTier
from engine.plan import Plan
from engine.problems import Problem
from engine.runner import Engine


@dataclass(frozen=True)
class PlannedJob:
    """A job with its plan.

    Args:
        plan: What it would do if it shared nothing; in the batch others may do some of it.
        pinned: By id, the rung of each node that may call models; 0 batches its calls with nothing else's.
        uses: Keys of the results that it will consult; when it has ended it will not do so again.
    """

    job: BatchJob
    plan: Plan
    pinned: Mapping[str, int]
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BatchPlan:
    """What a batch will do; of jobs that are done nothing is counted.

    Args:
        jobs: Those that are not done, in order.
        runs: Distinct nodes that run.
        cached: Distinct nodes that the cache has.
        asked: Nodes that would run if no two jobs shared any.
        lazy: Distinct nodes that may run beside, with what is upstream of them, if lazy inputs ask for them.
        uses: By key, how many of the jobs will consult a result, where more than one will. A node that
            several jobs have in common consults its inputs in the first of them alone.
        seconds: What the running nodes take, one after another, estimated from what their classes took; None
            if one is unknown.
    """

    jobs: tuple[PlannedJob, ...]
    runs: int
    cached: int
    asked: int
    lazy: int
    uses: Mapping[str, int]
    seconds: float | None


def plan_batch(
    batch: Batch, engine: Engine, done: Collection[int] = (), *, rung: int = 8, exact: bool = False
) -> BatchPlan:
    """Bind, check and key every job, and merge them by key; O(nodes of all jobs).

    Args:
        done: Numbers of the jobs that are not to be done again. The rungs do not depend on it, nor on what
            is cached.
        rung: The largest rung that is wanted.
        exact: Whether every row of a model call is computed alone.

    Raises:
        WorkflowError: With everything that is wrong with any job, and the places of what varies there.
    """
    binder = Binder(batch.workflow, engine)
    bound = _bound(batch, binder)
    shared = {} if exact else rungs_of([_calling(b) for b in bound], rung)
    finished = frozenset(done)
    merged = _Merged(binder.has)
    kept: dict[frozenset[tuple[str, int]], Mapping[str, int]] = {}
    for job, graph in zip(batch.jobs, bound, strict=True):
        if job.number in finished:
            continue
        pins = {id: 1 if exact else shared[graph.shapes[id]] for id in graph.keys if _calls(graph, id)}
        pinned = kept.setdefault(frozenset(pins.items()), pins)
        merged.add(job, binder.plan(graph), pinned)
    disk = next((t for t in engine.tiers.tiers if isinstance(t, DiskTier)), None)
    maybe = [key for key in merged.lazy if key not in merged.runs and not binder.has(key)]
    return BatchPlan(
        tuple(merged.jobs),
        len(merged.runs),
        len(merged.served - merged.runs.keys()),
        merged.asked,
        len(maybe),
        {key: count for key, count in merged.uses.items() if count > 1},
        merged.seconds(disk) if disk else None,
    )


@dataclass
class _Merged:
    """Jobs added one after another, merged by key: what runs and its class, what is at hand.

    Args:
        has: Whether the cache has a key.
    """

    has: Callable[[str], bool]
    jobs: list[PlannedJob] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    lazy: set[str] = field(default_factory=set)
    uses: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def add(self, job: BatchJob, plan: Plan, pinned: Mapping[str, int]) -> None:
        """Count a job's nodes; those that an earlier job runs are its."""
        new = [id for id in plan.runs if plan.keys[id] not in self.runs]
        links = (link for id in (*new, *self._maybe(plan)) for link in plan.graph.nodes[id].links.values())
        consulted = {link.node_id for link in links} | set(plan.targets)
        uses = frozenset(plan.keys[id] for id in consulted if plan.parts[id].lasts != "run")
        self.runs.update((plan.keys[id], plan.graph.nodes[id].node.name) for id in new)
        self.served.update(plan.keys[id] for id in plan.served)
        self.lazy.update(plan.keys[id] for id in plan.lazy)
        self.uses.update(uses)
        self.asked += len(plan.runs)
        self.jobs.append(PlannedJob(job, plan, pinned, uses))

    def _maybe(self, plan: Plan) -> Iterator[str]:
        """The nodes that run beside if lazy inputs ask for them."""
        seen = {*plan.runs, *plan.served}
        stack = list(plan.lazy)
        while stack:
            id = stack.pop()
            if id not in seen and not self.has(plan.keys[id]):
                yield id
                stack += [link.node_id for link in plan.graph.nodes[id].links.values()]
            seen.add(id)

    def seconds(self, disk: DiskTier) -> float | None:
        """What the running nodes take; None if a class is unknown."""
        total = 0.0
        for name, count in Counter(self.runs.values()).items():
            usual = disk.usual_cost(name)
            if usual is None:
                return None
            total += count * usual
        return total


def _calling(bound: Bound) -> Iterator[tuple[int, str]]:
    return ((bound.shapes[id], key) for id, key in bound.keys.items() if _calls(bound, id))


def _calls(bound: Bound, id: str) -> bool:
    """Whether a node may call models."""
    return bound.graph.nodes[id].node.is_generator


def _bound(batch: Batch, binder: Binder) -> list[Bound]:
    bound: list[Bound] = []
    wrong: dict[Problem, list[BatchJob]] = {}
    for job in batch.jobs:
        found = binder.bind(job.workflow)
        if isinstance(found, Bound):
            bound.append(found)
            continue
        for problem in found:
            wrong.setdefault(problem, []).append(job)
    refuse(_placed(problem, jobs, batch) for problem, jobs in wrong.items())
    return bound


def _placed(problem: Problem, jobs: list[BatchJob], batch: Batch) -> Problem:
    """A problem with the jobs that have it, and where what varies there was read."""
    first = jobs[0]
    place = next(
        (
            place
            for name, place in first.places.items()
            if first.workflow.find(name) == (problem.node_id, problem.input)
        ),
        "",
    )
    if len(jobs) == len(batch.jobs) and not place:
        return problem
    which = f"job {first.number}" + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")
    said = "; ".join(x for x in (which, place) if x)
    return replace(problem, message=f"{problem.message} ({said})")

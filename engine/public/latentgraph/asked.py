"""What a session is asked to run: which graph, which of its nodes, with which values; checked and planned."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from engine.check import check
from engine.files import Files
from engine.graph import bind
from engine.plan import Plan
from engine.ports import Env
from engine.problems import Problem, WorkflowError
from engine.registry import Registry
from engine.runner import Engine
from engine.workflow import Workflow, from_json
from latentgraph.graph import Graph, Output, Outputs, load

Runnable: TypeAlias = str | Path | Graph | Output | Outputs | Mapping[str, Any] | Sequence[Output | Outputs]
"""A file or a shipped name, a graph, outputs of one, or API-format JSON."""
Target: TypeAlias = tuple[str, int | None]
"""A node's id, and which of its outputs is meant; None for all."""


@dataclass(frozen=True)
class Asked:
    """A workflow to run.

    Args:
        inputs: What was set, by NODE.INPUT.
        targets: What is to be run; None means the output nodes.
        env: What nodes are given, where it is not what the engine has.
    """

    workflow: Workflow
    inputs: Mapping[str, Any]
    targets: tuple[Target, ...] | None
    env: Env | None

    @property
    def ids(self) -> list[str] | None:
        """The ids of the nodes to run."""
        return None if self.targets is None else [id for id, _ in self.targets]

    def planned(self, engine: Engine) -> Plan:
        """The plan, by what the cache has now.

        Raises:
            WorkflowError: With everything that is wrong.
        """
        return engine.plan(self.workflow, self.ids, env=self.env)


def asked(
    engine: Engine, meant: Runnable, values: Iterable[Mapping[str, Any]], targets: Iterable[str] | None = None
) -> list[Asked]:
    """A workflow once with each set of values, checked.

    Args:
        targets: Nodes to run by title, id or class name, in place of what `meant` says.

    Raises:
        WorkflowError: With everything that is wrong with any of them; of many, the first says what follows.
    """
    graph, wanted = _graph(meant, engine.registry)
    if targets is not None:
        wanted = _named(graph.workflow, targets)
    every = list(values)
    found: list[Asked] = []
    problems: list[Problem] = []
    for number, one in enumerate(every, 1):
        made, wrong = _one(engine, graph, wanted, one)
        found.append(made)
        where = f"job {number}: " if len(every) > 1 else ""
        problems += [replace(p, message=where + p.message) for p in wrong]
    if problems:
        raise WorkflowError(problems)
    return found


def _graph(meant: Runnable, registry: Registry) -> tuple[Graph, tuple[Target, ...] | None]:
    """The graph that is meant, and which of its outputs; None for its output nodes."""
    match meant:
        case str() | Path():
            return load(meant, registry), None
        case Graph():
            return meant, None
        case Output():
            return meant.graph, ((meant.node_id, meant.slot),)
        case Outputs():
            return meant.graph, ((meant.node_id, None),)
        case Mapping():
            return Graph(registry, from_json(dict(meant), classes=registry.nodes)), None
    outputs = (
        [one for one in meant if isinstance(one, Output | Outputs)] if isinstance(meant, Sequence) else []
    )
    if not outputs or len(outputs) < len(meant):
        raise TypeError(f"cannot run {meant!r:.60}: give a file, a name, a graph or outputs of one")
    if not all(one.graph.is_kin(outputs[0].graph) for one in outputs):
        raise TypeError("the outputs are of several graphs; run one graph at a time")
    return outputs[0].graph, tuple(t for one in outputs for t in _graph(one, registry)[1] or ())


def _named(workflow: Workflow, names: Iterable[str]) -> tuple[Target, ...]:
    found = [workflow.find(f"{name}.-") for name in names]
    if problems := [f for f in found if isinstance(f, Problem)]:
        raise WorkflowError(problems)
    return tuple((f[0], None) for f in found if not isinstance(f, Problem))


def _one(
    engine: Engine, graph: Graph, targets: tuple[Target, ...] | None, values: Mapping[str, Any]
) -> tuple[Asked, list[Problem]]:
    own = graph.copy()
    problems: list[Problem] = []
    try:
        own.set(values)
    except WorkflowError as error:
        problems += error.problems
    made = Asked(own.workflow, dict(values), targets, _env(engine, own))
    checked = check(bind(own.workflow, engine.registry), made.env or engine.env, made.ids)
    return made, [*problems, *checked.problems]


def _env(engine: Engine, graph: Graph) -> Env | None:
    """What nodes are given, with the files and pictures that the graph's inputs name."""
    if not (graph.given.files or graph.given.pictures):
        return None
    files = engine.env[Files]
    items = {role: dict(named) for role, named in files.items.items()}
    for role, named in graph.given.files.items():
        items.setdefault(role, {}).update(named)
    for role, pictures in graph.given.pictures.items():
        folder = files.folders["temp"][0] / "given"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            path = (folder / name).resolve()
            if not path.exists():
                picture.save(path)
            items.setdefault(role, {})[name] = path
    return engine.env.with_(replace(files, items=items))

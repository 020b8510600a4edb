"""What `--vary` and `--jobs` say, read into a batch; everything wrong is said at once, with its place."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

from engine.batch import Axis, Batch, BatchJob
from engine.batch.naming import PORT, Namer, with_inputs
from engine.batch.rows import Row, read_rows
from engine.batch.specs import MAX_JOBS, Given, Unreadable, too_many, values_of, wrong
from engine.inputs import Input, input_of, named_file, value_of
from engine.literals import Choices, coerce
from engine.ports import Env, OneOf
from engine.problems import Problem, WorkflowError, Wrong
from engine.registry import Registry
from engine.workflow import Workflow, WorkflowNode

SAID = 50
"""Problems that are said; of more only their number."""


class Set(NamedTuple):
    """An input with one of its values."""

    name: str
    node_id: str
    port: str
    value: Any
    place: str


_Step: TypeAlias = tuple[tuple[Set, ...], Row | None]
"""What is set together, and the row that says so."""


@dataclass
class _Column:
    """An input that varies: its values as its port reads them, each distinct one looked at once."""

    name: str
    input: Input
    class_type: str
    group: int
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    items: dict[str, dict[str, Path]] = field(default_factory=dict)
    _read: dict[Any, Any] = field(default_factory=dict)

    def set_to(self, given: Given) -> Set:
        """The input set to a value."""
        key = given.value if given.is_text else (json.dumps(given.value, sort_keys=True),)
        if key not in self._read:
            self._read[key] = self._looked_at(given)
        return Set(self.name, self.input.node_id, self.input.name, self._read[key], given.place)

    def _looked_at(self, given: Given) -> Any:
        port = self.input.port
        value = value_of(given.value, port) if given.is_text else given.value
        value = self.values.setdefault(json.dumps(value, sort_keys=True), value)
        if file := named_file(value, port):
            self.items.setdefault(file[0], {})[value] = file[1]
        if port is None or isinstance(value, list | dict) or port.fact(OneOf) is not None:
            return value  # what the engine finds when the batch is planned
        found = coerce(port, value, Choices(Env()))
        if port.kind == "INT" and isinstance(value, float) and value != found:
            found = Wrong(port.name, f"takes whole numbers, found {value}")  # the engine would cut them off
        if isinstance(found, Wrong):
            message = f"{given.place}: {found.message}"
            where = (self.input.node_id, self.class_type, self.input.name)
            self.problems.append(Problem(found.code, message, *where, found.hint))
        return value


@dataclass
class _Reader:
    """Reads specs and rows of one workflow.

    Args:
        steps: For each group of inputs that vary together the settings it goes through; groups multiply.
    """

    workflow: Workflow
    registry: Registry
    problems: list[Problem] = field(default_factory=list)
    columns: dict[tuple[str, str], _Column] = field(default_factory=dict)
    steps: list[list[_Step]] = field(default_factory=list)
    has_names: bool = False

    def column(self, name: str, place: str, group: int) -> _Column | None:
        """A column for NODE.INPUT; None where there is no such input, or it has one already."""
        found = input_of(name, self.workflow, self.registry)
        if isinstance(found, Problem):
            self.problems.append(wrong(place, found.message, found.hint))
            return None
        at = (found.node_id, found.name)
        if at in self.columns:
            other = self.columns[at].name
            message = f"{name} varies twice" if name == other else f"{name} and {other} are the same input"
            self.problems.append(wrong(place, message, "let it vary once"))
            return None
        class_type = self.workflow.nodes[found.node_id].class_type
        self.columns[at] = _Column(name, found, class_type, group)
        return self.columns[at]

    def file(self, path: Path) -> None:
        """Read `--jobs`: one group, outermost."""
        rows = read_rows(path, self.problems)
        self.has_names = rows.named
        columns = {name: self.column(name, place, 0) for name, place in rows.columns.items()}
        steps: list[_Step] = []
        for row in rows.rows:
            known = ((columns[name], given) for name, given in row.inputs.items())
            steps.append((tuple(column.set_to(given) for column, given in known if column), row))
        self.steps.append(steps)

    def varied(self, vary: Sequence[str], zipped: bool) -> None:
        """Read the `--vary` options: a group each, or one for all of them."""
        lists: list[tuple[str, list[Set]]] = []
        first = len(self.steps)
        for i, text in enumerate(vary):
            name, equals, spec = text.partition("=")
            if not equals:
                self.problems.append(wrong(f"--vary {text}", "there is no '='", "write NODE.INPUT=SPEC"))
                continue
            column = self.column(name, f"--vary {name}", first + (0 if zipped else i))
            try:
                values = values_of(spec, f"--vary {name}", len(name) + 2)
            except Unreadable as error:
                self.problems += error.problems
                continue
            if column:
                lists.append((name, [column.set_to(given) for given in values]))
        if not zipped:
            self.steps += [[((value,), None) for value in values] for _, values in lists]
        elif len({len(values) for _, values in lists}) > 1:
            lengths = ", ".join(f"{name} has {len(values)}" for name, values in lists)
            self.problems.append(
                wrong("--zip", f"the lists differ in length: {lengths}", "give each as many")
            )
        elif lists:
            self.steps.append([(step, None) for step in zip(*(v for _, v in lists), strict=True)])

    def all_problems(self) -> list[Problem]:
        """Everything wrong so far."""
        return [*self.problems, *(p for column in self.columns.values() for p in column.problems)]


def read_batch(
    workflow: Workflow,
    registry: Registry,
    vary: Sequence[str] = (),
    *,
    zipped: bool = False,
    jobs: Path | None = None,
    name: str | None = None,
    rung: int = 8,
    exact: bool = False,
) -> Batch:
    """The jobs that specs and rows make of a workflow: rows outermost, then each `--vary`, the last fastest.

    Args:
        vary: `NODE.INPUT=SPEC` each; `engine.batch.specs.HELP` says what a SPEC is.
        zipped: Whether they go in step instead of multiplying.
        jobs: A file with a job a row; see `engine.batch.rows`.
        name: The template of output names; `engine.batch.names.HELP` says what it may hold.
        rung: The limit of rungs; part of what makes a batch this one, as is `exact`.

    Raises:
        WorkflowError: With everything that is wrong, each with its place.
    """
    reader = _Reader(workflow, registry)
    if jobs is not None:
        reader.file(jobs)
    reader.varied(vary, zipped)
    columns = list(reader.columns.values())
    if jobs is None and not vary:
        reader.problems.append(wrong("", "nothing varies", "give --vary NODE.INPUT=SPEC or --jobs FILE"))
    varied = {c.name: (c.input.node_id, c.input.name) for c in columns}
    namer = Namer.of(workflow, registry, name, varied, reader.has_names)
    refuse([*reader.all_problems(), *namer.problems])
    if (count := prod(map(len, reader.steps))) > MAX_JOBS:
        refuse([too_many(count)])
    made = tuple(_jobs(workflow, reader.steps, namer))
    refuse(namer.clashes(made))
    axes = tuple(Axis(c.name, tuple(c.values.values()), c.group) for c in columns if c.values)
    items: dict[str, dict[str, Path]] = {}
    for column in columns:
        for role, files in column.items.items():
            items.setdefault(role, {}).update(files)
    return Batch(workflow, axes, made, _digest(made, rung, exact), items)


def _jobs(workflow: Workflow, steps: Sequence[Sequence[_Step]], namer: Namer) -> Iterator[BatchJob]:
    """The jobs in order; nodes that are set alike are one object, which planning makes use of."""
    width = len(str(prod(map(len, steps))))
    alike: dict[Any, WorkflowNode] = {}
    for number, chosen in enumerate(product(*steps), 1):
        sets = [value for step, _ in chosen for value in step]
        inputs = {s.name: s.value for s in sets}
        named = next((row.name for _, row in chosen if row), "")
        at = {(s.node_id, s.port): s.value for s in sets}
        stems = namer.stems(f"{number:0{width}}", at, inputs, named)
        by_node: dict[str, dict[str, Any]] = {id: {PORT: stem} for id, stem in stems.items()}
        for (node_id, port), value in at.items():
            by_node.setdefault(node_id, {}).setdefault(port, value)
        nodes = dict(workflow.nodes)
        for node_id, values in by_node.items():
            if node_id in stems:  # like no other job's
                nodes[node_id] = with_inputs(nodes[node_id], values)
                continue
            key = (node_id, *((port, id(value)) for port, value in values.items()))
            if key not in alike:
                alike[key] = with_inputs(nodes[node_id], values)
            nodes[node_id] = alike[key]
        places = {s.name: s.place for s in sets}
        yield BatchJob(number, inputs, replace(workflow, nodes=nodes), tuple(stems.values()), places)


def _digest(jobs: Sequence[BatchJob], rung: int, exact: bool) -> str:
    texts: dict[int, str] = {}

    def text(node: WorkflowNode) -> str:
        if id(node) not in texts:
            texts[id(node)] = json.dumps([node.class_type, node.inputs, node.title], sort_keys=True)
        return texts[id(node)]

    digest = blake3(json.dumps([rung, exact]).encode())
    for job in jobs:
        nodes = sorted(job.workflow.nodes.items())
        digest.update(json.dumps([[id, text(node)] for id, node in nodes]).encode())
    return digest.hexdigest()


def refuse(problems: Iterable[Problem]) -> None:
    """Raise a WorkflowError with all problems, if there are any; of very many only the first."""
    found = list(problems)
    if len(found) > SAID:
        more = wrong("", f"... and {len(found) - SAID} more")
        found = [*found[:SAID], more]
    if found:
        raise WorkflowError(found)

"""The output names of each job: which nodes save, what their names begin with, whether any collide."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.batch import BatchJob
from engine.batch.names import DEFAULT, Template, collisions, parsed, safe, safe_path, tidy, wrong_with
from engine.node import REQUIRED
from engine.problems import Problem
from engine.registry import Registry
from engine.workflow import Workflow, WorkflowNode

PORT = "filename_prefix"


@dataclass(frozen=True)
class _Saver:
    """A node that takes a `filename_prefix`, and the one that the workflow gives it."""

    id: str
    prefix: str
    varies: bool


@dataclass(frozen=True)
class Namer:
    """Fills the template of names for each job.

    Args:
        templates: For each saver.
        problems: What is wrong with the template.
    """

    savers: tuple[_Saver, ...]
    templates: tuple[Template, ...]
    problems: tuple[Problem, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        workflow: Workflow,
        registry: Registry,
        name: str | None,
        varied: Mapping[str, tuple[str, str]],
        has_names: bool,
    ) -> "Namer":
        """A namer for a workflow.

        Args:
            name: The template; None takes the row's name, else the default.
            varied: The node id and port of each NODE.INPUT that varies.
            has_names: Whether rows may name their jobs.
        """
        savers = tuple(_savers(workflow, registry, varied.values()))
        known = ["job", "prefix", "node", *(["name"] if has_names else []), *varied]
        templates: list[Template] = []
        problems: list[Problem] = []
        if name is not None and not savers:
            message = "--name: no node of the workflow takes a filename_prefix"
            problems.append(Problem("bad_batch", message, hint="add a node such as SaveImage"))
        for saver in savers:
            template = parsed(_template(name, saver, has_names, len(savers) > 1), known)
            if isinstance(template, Template):
                templates.append(template)
            else:
                problems += template
        fixed = {n: workflow.nodes[id].inputs.get(port) for n, (id, port) in varied.items()}
        return cls(savers, tuple(templates), tuple(dict.fromkeys(problems)), fixed)

    def stems(
        self, job: str, sets: Mapping[tuple[str, str], Any], inputs: Mapping[str, Any], row: str
    ) -> dict[str, str]:
        """What the output names of one job begin with, by node id.

        Args:
            job: Its number, as wide as the last one's.
            sets: What it sets, by node id and port.
            inputs: The same by NODE.INPUT.
            row: The name that a row gives it, or "".
        """
        values = {n: _text(inputs.get(n, fixed)) for n, fixed in self.fixed.items()}
        stems = {}
        for saver, template in zip(self.savers, self.templates, strict=True):
            prefix = str(sets.get((saver.id, PORT), saver.prefix))
            default = DEFAULT.format(prefix=prefix, job=job)
            name = safe_path(row) if row else default
            fields = {**values, "job": job, "prefix": prefix, "node": safe(saver.id), "name": name}
            stems[saver.id] = tidy(template.filled(fields))
        return stems

    def clashes(self, jobs: Sequence[BatchJob]) -> Iterator[Problem]:
        """Names that cannot be, and jobs that would take each other's."""
        said: set[str] = set()
        for job in jobs:
            for stem in job.names:
                if (found := wrong_with(stem)) and found not in said:
                    said.add(found)
                    message = f"the output name {stem[:200]!r} of job {job.number} {found}"
                    yield Problem(
                        "bad_batch", message, hint="change --name or the workflow's filename_prefix"
                    )
        for first, second, stem in collisions([job.names for job in jobs]):
            which = f"two outputs of job {second}" if first == second else f"jobs {first} and {second}"
            message = f"{which} would take each other's output names at {stem!r}"
            yield Problem(
                "colliding_names", message, hint="begin --name with {job}, or add {node} or what varies"
            )


def _template(name: str | None, saver: _Saver, has_names: bool, several: bool) -> str:
    if name is None and not has_names and saver.varies:
        return "{prefix}"
    template = name if name is not None else "{name}" if has_names else DEFAULT
    return f"{template}_{{node}}" if several and "{node}" not in template else template


def _savers(workflow: Workflow, registry: Registry, varied: Collection[tuple[str, str]]) -> Iterator[_Saver]:
    for id, saved in workflow.nodes.items():
        declared = registry.nodes.get(saved.class_type)
        port = declared.input(PORT) if declared else None
        if PORT in saved.inputs or (port and port.kind == "STRING"):
            default = "output" if port is None or port.default in (REQUIRED, None) else port.default
            prefix = saved.inputs.get(PORT, default)
            yield _Saver(id, prefix if isinstance(prefix, str) else str(default), (id, PORT) in varied)


def _text(value: Any) -> str:
    return safe("" if value is None or isinstance(value, list) else value)


def with_inputs(saved: WorkflowNode, inputs: Mapping[str, Any]) -> WorkflowNode:
    """A node with some inputs set."""
    return WorkflowNode(saved.class_type, {**saved.inputs, **inputs}, saved.title)

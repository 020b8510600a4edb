"""What the commands open: the workflow (with inputs set), the registry, the cache, the engine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.config import Settings, make_env, open_tiers
from engine.inputs import content_of, input_of, named_file, value_of
from engine.plan import Plan
from engine.ports import Env
from engine.problems import Problem, WorkflowError, nearest
from engine.registry import Registry, installed
from engine.runner import Engine
from engine.workflow import Workflow, load


@dataclass(frozen=True)
class Opened:
    """A workflow with all that it needs to be checked and run.

    Args:
        problems: What is wrong with the settings given; `planned` adds what is wrong with the workflow.
    """

    workflow: Workflow
    registry: Registry
    env: Env
    tiers: Tiers
    problems: tuple[Problem, ...] = ()

    def planned(self, engine: Engine) -> Plan:
        """The plan of the workflow.

        Raises:
            WorkflowError: With everything that is wrong with the settings and the workflow together.
        """
        try:
            plan = engine.plan(self.workflow)
        except WorkflowError as error:
            raise WorkflowError([*self.problems, *error.problems]) from error
        if self.problems:
            raise WorkflowError(self.problems)
        return plan


def find_workflow(name: str, registry: Registry) -> Path:
    """The file that `name` means: a path, or the name of a workflow that comes with a pack.

    Raises:
        WorkflowError: There is none.
    """
    path = Path(name)
    if path.exists():
        return path
    shipped = {
        p.stem: p for pack in registry.packs if pack.workflows for p in sorted(pack.workflows.glob("*.json"))
    }
    if path.stem in shipped and path.parent in (Path(), Path("workflows")):
        return shipped[path.stem]
    hint = nearest(path.stem, shipped) or f"workflows that come along: {', '.join(sorted(shipped))}"
    raise WorkflowError([Problem("unreadable", f"there is no file {name}", hint=hint)])


def with_settings(
    name: str, registry: Registry, sets: Iterable[str] = ()
) -> tuple[Workflow, dict[str, dict[str, Path]], list[Problem]]:
    """A workflow by path or shipped name, with `NODE.INPUT=VALUE` settings applied.

    Returns:
        The workflow, the files that settings name by path (by role), what is wrong with the settings.

    Raises:
        WorkflowError: It cannot be read.
    """
    workflow = load(find_workflow(name, registry), registry.nodes)
    problems: list[Problem] = []
    values, items = _settings(sets, workflow, registry, problems)
    return workflow.with_inputs(values), items, problems


@contextmanager
def opened(name: str, settings: Settings, sets: Iterable[str] = ()) -> Iterator[Opened]:
    """A workflow by path or shipped name, with `NODE.INPUT=VALUE` settings applied, and its surroundings.

    Raises:
        WorkflowError: It cannot be read; what is wrong with the settings stands in `problems`.
    """
    registry = installed()
    workflow, items, problems = with_settings(name, registry, sets)
    tiers = open_tiers(settings)
    try:
        yield Opened(workflow, registry, make_env(settings, registry, tiers, items), tiers, tuple(problems))
    finally:
        for tier in tiers.tiers:
            if isinstance(tier, DiskTier):
                tier.close()


def _settings(
    sets: Iterable[str], workflow: Workflow, registry: Registry, problems: list[Problem]
) -> tuple[dict[str, Any], dict[str, dict[str, Path]]]:
    """The values of `--set` that name an input, and the files that they name by path, by role."""
    values: dict[str, Any] = {}
    items: dict[str, dict[str, Path]] = {}
    for text in sets:
        name, equals, raw = text.partition("=")
        if not equals:
            problems.append(
                Problem("bad_setting", f"--set {text!r} has no '='", hint="write NODE.INPUT=VALUE")
            )
            continue
        found = input_of(name, workflow, registry)
        value = content_of(raw[1:]) if raw.startswith("@") else raw
        problems += [x for x in (found, value) if isinstance(x, Problem)]
        if isinstance(found, Problem) or isinstance(value, Problem):
            continue
        values[name] = value = value_of(value, found.port)
        if file := named_file(value, found.port):
            items.setdefault(file[0], {})[value] = file[1]
    return values, items

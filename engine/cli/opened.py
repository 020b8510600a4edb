"""What the commands open: the workflow (with inputs set), the registry, the cache, the engine."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.config import Settings, make_env, open_tiers
from engine.node import Value
from engine.plan import Plan
from engine.ports import Env, OneOf
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


@contextmanager
def opened(name: str, settings: Settings, sets: Iterable[str] = ()) -> Iterator[Opened]:
    """A workflow by path or shipped name, with `NODE.INPUT=VALUE` settings applied, and its surroundings.

    Raises:
        WorkflowError: It cannot be read; what is wrong with the settings stands in `problems`.
    """
    registry = installed()
    workflow = load(find_workflow(name, registry))
    problems: list[Problem] = []
    values, items = _settings(sets, workflow, registry, problems)
    workflow = workflow.with_inputs(values)
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
        before = len(problems)
        port = _port(name, workflow, registry, problems)
        value = _value(raw, port, problems)
        one_of = port.fact(OneOf) if port else None
        if one_of and one_of.role and isinstance(value, str) and Path(value).exists():
            items.setdefault(one_of.role, {})[value] = Path(value).resolve()
        if len(problems) == before:
            values[name] = value
    return values, items


def _port(name: str, workflow: Workflow, registry: Registry, problems: list[Problem]) -> Value | None:
    found = workflow.find(name)
    if isinstance(found, Problem):
        problems.append(found)
        return None
    id, port = found
    declared = registry.nodes.get(workflow.nodes[id].class_type)
    if declared is None:
        return None
    value = declared.input(port)
    if value is None:
        known = [v.name for v in declared.inputs]
        hint = nearest(port, known) or f"its inputs are {', '.join(known)}"
        problems.append(
            Problem("bad_setting", f"{declared.name} has no input {port!r}", id, declared.name, port, hint)
        )
    return value


def _value(raw: str, port: Value | None, problems: list[Problem]) -> Any:
    """JSON where it is JSON of a fitting type, else the text; `@file` stands for the file's content."""
    if raw.startswith("@"):
        try:
            raw = Path(raw[1:]).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(
                Problem("bad_setting", f"{raw[1:]} cannot be read: {error}", hint="write @ and a text file")
            )
            return raw
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    text = port is not None and port.kind in ("STRING", "COMBO")
    return raw if text and not isinstance(value, str | list) else value

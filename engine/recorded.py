"""An earlier run as its pictures and its lock file tell of it; and the lock file, as it is written."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.containers import carried
from engine.plan import Plan
from engine.problems import Problem, WorkflowError
from engine.record import CHUNK, Record, filled
from engine.runner import Run
from engine.workflow import Workflow, load


@dataclass(frozen=True)
class Recorded:
    """An earlier run, as a file tells of it.

    Args:
        files: What it wrote, as far as it is at hand: output node and content.
    """

    workflow: Workflow
    record: Record
    files: tuple[tuple[str, bytes], ...]


def recorded(path: Path) -> Recorded:
    """The earlier run that a picture or a lock file tells of, its workflow with all defaults filled in.

    Raises:
        WorkflowError: It cannot be read, or holds no workflow or no record.
    """
    workflow = load(path)
    data = path.read_bytes()
    picture = carried(data)
    lock: dict[str, Any] = {} if picture else json.loads(data.decode("utf-8-sig"))
    said: Any = picture.texts.get(CHUNK) if picture else lock.get(CHUNK)
    if said is None or (not picture and "class_type" in lock.get("prompt", {"class_type": ""})):
        message = f"{path} holds a workflow but no record of a run: latentgraph did not write it"
        raise WorkflowError([Problem("no_record", message, hint=f"`latentgraph run {path}` runs it")])
    try:
        record = Record.model_validate(json.loads(said) if isinstance(said, str) else said)
    except (ValueError, RecursionError) as error:
        problem = Problem("bad_record", f"the record in {path} is damaged", hint="take the file as written")
        raise WorkflowError([problem]) from error
    inputs = {f"{id}.{name}": v for id, ports in record.filled.items() for name, v in ports.items()}
    known = {name: v for name, v in inputs.items() if not isinstance(workflow.find(name), Problem)}
    files = [(id, data) for id in record.targets[:1]] if picture else list(_written(lock.get("outputs")))
    return Recorded(workflow.with_inputs(known), record, tuple(files))


def _written(outputs: Any) -> Iterator[tuple[str, bytes]]:
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict) and isinstance(output.get("path"), str):
            path = Path(output["path"])
            if path.is_file():
                yield str(output.get("node")), path.read_bytes()


def lock(plan: Plan, run: Run) -> dict[str, Any]:
    """What `latentgraph run --lock` writes: the resolved graph, the record, what was written."""
    prompt = plan.graph.workflow.as_api()
    for id in plan.keys:
        node = plan.graph.nodes[id]
        plain = {name: v for name, v in node.literals.items() if isinstance(v, str | int | float)}
        prompt[id]["inputs"] |= plain | filled(node)
    editor = plan.graph.workflow.editor
    return {
        "prompt": prompt,
        CHUNK: run.record().as_json(),
        "outputs": [dict(output) for output in run.outputs],
        **({"workflow": editor} if editor else {}),
    }

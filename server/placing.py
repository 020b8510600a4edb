"""Which node and input of a workflow a name means, for values that are sent beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.editor import is_editor_form
from engine.graph import is_link
from engine.problems import Problem, WorkflowError
from engine.registry import Registry
from engine.workflow import Workflow, from_json
from server.wire import Refused


def graph_of(workflow: Any) -> dict[str, Any]:
    """The API graph of what was sent as `workflow`; its nodes may be replaced, not changed.

    Raises:
        Refused: 422, it is none.
    """
    if not isinstance(workflow, dict):
        raise Refused(422, "invalid_workflow", "workflow is an object of nodes by id")
    if is_editor_form(workflow):
        text = "this is the editor's own format; send what `latentgraph convert` or 'Export (API)' write"
        raise Refused(422, "workflow_format_ui", text)
    inner = workflow.get("prompt")
    if isinstance(inner, dict) and "class_type" not in inner:
        workflow = inner
    return dict(workflow)


def placed(
    graph: dict[str, Any], named: Mapping[str, Any], registry: Registry
) -> Iterator[tuple[str, str, Any]]:
    """Node id, input and value of everything that is set by name.

    Raises:
        Refused: 422, names that mean no input, all of them.
    """
    try:
        workflow = from_json(graph)
    except WorkflowError as error:
        problems = [p.as_json() for p in error.problems]
        raise Refused(422, "invalid_workflow", str(error), problems=problems) from error
    places = {name: place(workflow, name, registry) for name in named}
    bad = [p for p in places.values() if isinstance(p, Problem)]
    if bad:
        text = "; ".join(f"{p.message}: {p.hint}" if p.hint else p.message for p in bad)
        raise Refused(422, "invalid_inputs", text, problems=[p.as_json() for p in bad])
    for name, found in places.items():
        if not isinstance(found, Problem):
            yield *found, named[name]


def place(workflow: Workflow, name: str, registry: Registry) -> tuple[str, str] | Problem:
    """The node and the input that a name means: NODE.INPUT, or NODE where it has one input to set."""
    found = workflow.find(name)
    if isinstance(found, Problem):
        alone = workflow.find(f"{name}.?")
        if isinstance(alone, Problem):
            return found
        free = _free(workflow, alone[0], registry)
        if len(free) == 1:
            return alone[0], free[0]
        hint = f"write one of {', '.join(f'{name}.{port}' for port in free[:8])}" if free else ""
        return Problem("bad_setting", f"{name!r} does not say which input", hint=hint)
    id, port = found
    node = registry.nodes.get(workflow.nodes[id].class_type)
    if node and node.input(port) is None and port not in workflow.nodes[id].inputs:
        hint = f"it has {', '.join(v.name for v in node.inputs)}"
        return Problem("bad_setting", f"{name!r}: {node.name} has no input {port!r}", hint=hint)
    return found


def _free(workflow: Workflow, id: str, registry: Registry) -> list[str]:
    """The inputs of a node that take a value and have no link."""
    saved = workflow.nodes[id]
    node = registry.nodes.get(saved.class_type)
    if node is None:
        return [port for port, value in saved.inputs.items() if not is_link(value)]
    return [
        v.name for v in node.inputs if v.is_widget and not v.hidden and not is_link(saved.inputs.get(v.name))
    ]

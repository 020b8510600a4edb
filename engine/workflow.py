"""A saved workflow as plain data: read from JSON or a file that carries one, with inputs set by name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engine.containers import Carried, Format, carried
from engine.editor import flattened, is_editor_form
from engine.editor.widgets import Classes
from engine.nesting import MAX_DEPTH, depth_of, is_flat, marks_of
from engine.problems import Problem, WorkflowError, nearest

MAX_BYTES = 64 * 1024 * 1024
MAX_NODES = 50_000


class _ApiNode(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    class_type: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    meta: dict[str, Any] = Field(default_factory=dict, alias="_meta")


_NODES = TypeAdapter(dict[str, _ApiNode])


@dataclass(frozen=True)
class WorkflowNode:
    """One node as saved: its class, its inputs (literals and links `[id, slot]`), its title."""

    class_type: str
    inputs: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True)
class Workflow:
    """A workflow in the API form, whatever file it came from.

    Args:
        nodes: By node id.
        source: Where it was read from, for messages.
        format: The form of the file.
        editor: The editor's own JSON (`workflow` chunk) where the file has one; saved again with outputs.
        unnamed: Ids of nodes of unknown classes whose values are left out, as the file does not name them.
        filled: By node id, inputs that have no value in the editor's file: those of `nodes` are defaults.
    """

    nodes: Mapping[str, WorkflowNode]
    source: str = "workflow"
    format: Format = "api"
    editor: Mapping[str, Any] | None = field(default=None, compare=False)
    unnamed: tuple[str, ...] = field(default=(), compare=False)
    filled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    def as_api(self) -> dict[str, Any]:
        """The API-format JSON of the workflow."""
        return {
            id: {"class_type": n.class_type, "inputs": dict(n.inputs)}
            | ({"_meta": {"title": n.title}} if n.title else {})
            for id, n in self.nodes.items()
        }

    def with_inputs(self, values: Mapping[str, Any]) -> "Workflow":
        """The workflow with some inputs set: `{"Prompt.text": "a house", "3.seed": 7}`.

        Args:
            values: By NODE.INPUT, where NODE is an id, a title, or a class name that only one node has.

        Raises:
            WorkflowError: All names that mean no node or more than one.
        """
        problems: list[Problem] = []
        nodes = dict(self.nodes)
        for name, value in values.items():
            found = self.find(name)
            if isinstance(found, Problem):
                problems.append(found)
                continue
            id, port = found
            nodes[id] = replace(nodes[id], inputs={**nodes[id].inputs, port: value})
        if problems:
            raise WorkflowError(problems)
        return replace(self, nodes=nodes)

    def find(self, name: str) -> tuple[str, str] | Problem:
        """The node id and the port that NODE.INPUT means, or what is wrong with the name."""
        at = next((i for i, c in enumerate(name) if c == "." and name[:i] in self.nodes), name.rfind("."))
        node_name, port = name[: max(at, 0)], name[at + 1 :]
        if not node_name or not port:
            return Problem("bad_setting", f"{name!r} is not NODE.INPUT", hint="write e.g. Prompt.text")
        if node_name in self.nodes:
            return node_name, port
        for kind in ("title", "class_type"):
            ids = [id for id, n in self.nodes.items() if getattr(n, kind) == node_name]
            if len(ids) == 1:
                return ids[0], port
            if ids:
                return Problem(
                    "bad_setting",
                    f"{len(ids)} nodes are called {node_name!r}",
                    hint=f"use an id: {', '.join(ids[:8])}",
                )
        known = {n.title for n in self.nodes.values() if n.title} | {
            n.class_type for n in self.nodes.values()
        }
        return Problem(
            "bad_setting",
            f"no node is called {node_name!r}",
            hint=nearest(node_name, known | set(self.nodes)),
        )


def load(path: Path, classes: Classes | None = None) -> Workflow:
    """Read a workflow file: JSON of either form, or a PNG, WebP or latent saved by a workflow.

    Args:
        classes: The declared nodes; needed for the editor's form, which does not name all values.

    Raises:
        WorkflowError: It cannot be read, or is no workflow; with everything that is wrong.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _error("too_large", f"{path} is larger than {MAX_BYTES // 2**20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise _error("unreadable", f"{path}: {error.strerror or error}", "check the path") from error
    return parse(data, str(path), classes)


def parse(data: bytes, source: str = "workflow", classes: Classes | None = None) -> Workflow:
    """Make a workflow of a file's bytes, whatever form it has.

    Args:
        classes: As for `load`.

    Raises:
        WorkflowError: It is no workflow; with everything that is wrong.
    """
    if data.startswith(b"\xff\xd8"):
        raise _error(
            "unknown_format",
            f"{source}: a JPEG cannot carry a workflow",
            "use the PNG, or the workflow's JSON",
        )
    if (found := carried(data)) is not None:
        return _from_texts(found, source, classes)
    return from_json(_json(data, source), source, classes=classes)


def from_json(
    value: Any, source: str = "workflow", format: Format = "api", classes: Classes | None = None
) -> Workflow:
    """Make a workflow of decoded JSON: `{id: {"class_type", "inputs", "_meta"}}`, or the editor's form.

    Args:
        classes: As for `load`.

    Raises:
        WorkflowError: With everything that is wrong.
    """
    if not isinstance(value, dict):
        raise _error("invalid_prompt", f"{source}: a workflow is a JSON object, found {type(value).__name__}")
    if isinstance(value.get("prompt"), dict) and "class_type" not in value["prompt"]:
        value = value["prompt"]
    elif is_editor_form(value.get("workflow")):
        value = value["workflow"]
    if is_editor_form(value):
        return _from_editor(value, source, "ui" if format == "api" else format, classes)
    value = {id: node for id, node in value.items() if not _is_remark(id, node)}
    if len(value) > MAX_NODES:
        raise _error("too_large", f"{source}: {len(value)} nodes; at most {MAX_NODES} are read")
    if not value:
        raise _error("prompt_no_outputs", f"{source}: the workflow has no nodes")
    try:
        nodes = _NODES.validate_python(value)
    except ValidationError as error:
        raise WorkflowError(_shape_problems(error)) from error
    return Workflow(
        {id: WorkflowNode(n.class_type, n.inputs, _title(n.meta)) for id, n in nodes.items()}, source, format
    )


def _from_editor(value: Any, source: str, format: Format, classes: Classes | None) -> Workflow:
    if classes is None:
        text = f"{source} is in the editor's own format, which is not taken here"
        hint = "send the API form: `latentgraph convert` writes it, or 'Export (API)' in the editor"
        raise WorkflowError([Problem("ui_format", text, hint=hint)], "ui")
    flat = flattened(value, classes, source)
    if not flat.nodes:
        raise WorkflowError(
            [Problem("prompt_no_outputs", f"{source}: the workflow has no nodes that run")], "ui"
        )
    for id, defaults in flat.missing.items():
        flat.nodes[id]["inputs"] |= defaults
    made = from_json(flat.nodes, source, format)
    return replace(made, editor=value, unnamed=flat.unnamed, filled=flat.missing)


def _is_remark(id: Any, node: Any) -> bool:
    """Whether a top-level entry is a note that people add to API files by hand ("_comment", "_meta")."""
    named = isinstance(id, str) and id.startswith(("_", "comment"))
    return named and not (isinstance(node, dict) and "class_type" in node)


def _title(meta: Mapping[str, Any]) -> str:
    title = meta.get("title", "")
    return title if isinstance(title, str) else ""


def _shape_problems(error: ValidationError) -> Iterator[Problem]:
    for e in error.errors():
        id, *rest = (str(part) for part in e["loc"])
        what = ".".join(rest)
        hint = 'a node is {"class_type": ..., "inputs": {...}}'
        if what == "class_type" and e["type"] == "missing":
            yield Problem("invalid_prompt", "the node has no class_type", id, hint=hint)
        else:
            yield Problem(
                "invalid_prompt", f"{e['msg'].lower()}, found {e['input']!r:.60}", id, input=what, hint=hint
            )


def _json(data: bytes, source: str) -> Any:
    try:
        text = data.decode("utf-8-sig")
        if not is_flat(data) and depth_of(marks_of(data)) > MAX_DEPTH:
            raise _error("too_deep", f"{source}: nested more than {MAX_DEPTH} levels deep")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise _error(
            "unknown_format", f"{source} is neither JSON text nor a picture with a workflow"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _error("invalid_json", f"{source} is no valid JSON: {error}") from error


def _from_texts(found: Carried, source: str, classes: Classes | None) -> Workflow:
    text = found.texts["prompt"] if "prompt" in found.texts else found.texts.get("workflow")
    if text is None:
        raise WorkflowError(
            [
                Problem(
                    "no_workflow",
                    f"{source} carries no workflow",
                    hint="only files saved by a workflow (with its metadata) can be run",
                )
            ],
            found.format,
        )
    saved = _json(str(text).encode("utf-8", "surrogatepass"), f"{source} (its workflow)")
    workflow = from_json(saved, source, found.format, classes)
    try:
        editor = json.loads(found.texts["workflow"])
    except (KeyError, ValueError, TypeError, RecursionError):
        editor = None
    return replace(workflow, editor=editor if isinstance(editor, dict) else None)


def _error(code: str, message: str, hint: str = "") -> WorkflowError:
    return WorkflowError([Problem(code, message, hint=hint)])

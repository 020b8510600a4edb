"""`latentgraph nodes`: which nodes there are, and one node's interface."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from engine.cli.say import line, people
from engine.config import make_env, open_tiers, read_settings
from engine.node import REQUIRED, Node, Value
from engine.ports import Env, Range
from engine.problems import Problem, WorkflowError, nearest
from engine.registry import installed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="nodes")(nodes)


def nodes(
    name: Annotated[str | None, typer.Argument(help="A node class; without it all are listed.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per node on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """List the nodes, or show one node's inputs, outputs and documentation."""
    del debug
    registry = installed()
    settings = read_settings(cache="off")
    env = make_env(settings, registry, open_tiers(settings))
    if name is not None and name not in registry.nodes:
        hint = nearest(name, registry.nodes) or "`latentgraph nodes` lists all"
        raise WorkflowError([Problem("missing_node_type", f"no node class is called {name!r}", hint=hint)])
    chosen = (
        [registry.nodes[name]]
        if name
        else sorted(registry.nodes.values(), key=lambda n: (n.category, n.name))
    )
    if as_json:
        for n in chosen:
            line(described(n, env))
    elif name:
        _show(chosen[0], env)
    else:
        table = Table("class", "category", "what it does", box=None, header_style="bold")
        for n in chosen:
            table.add_row(n.name, n.category, escape(n.doc))
        people.print(table)


def described(node: Node[..., Any], env: Env) -> dict[str, Any]:
    """A node's interface as JSON."""
    return {
        "name": node.name,
        "title": node.title,
        "category": node.category,
        "description": node.doc,
        "output_node": node.is_output,
        "inputs": [_described(v, env) for v in node.inputs if not v.hidden],
        "outputs": [{"name": v.name, "type": v.kind, "is_list": v.is_list} for v in node.outputs],
    }


def _described(value: Value, env: Env) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": value.name, "type": value.kind, "required": not value.optional}
    if value.default is not REQUIRED and value.default is not None:
        facts["default"] = value.default
    if bounds := value.fact(Range):
        facts |= {"min": bounds.min, "max": bounds.max}
    if (choices := value.choices(env)) is not None:
        facts["choices"] = list(choices)
    if value.doc:
        facts["description"] = value.doc
    return facts


def _show(node: Node[..., Any], env: Env) -> None:
    people.print(f"[bold]{node.name}[/]  [dim]{node.category}[/]\n{escape(node.doc)}\n")
    table = Table("input", "type", "default", "allowed", "", box=None, header_style="bold")
    for value in node.inputs:
        if value.hidden:
            continue
        facts = _described(value, env)
        allowed = f"{facts['min']:g} … {facts['max']:g}" if "min" in facts else ""
        if "choices" in facts:
            shown = facts["choices"][:10]
            allowed = ", ".join(shown) + (
                f" … ({len(facts['choices'])})" if len(facts["choices"]) > 10 else ""
            )
        default = str(facts.get("default", "" if value.optional else "(required)"))
        table.add_row(value.name, value.kind, escape(default), escape(allowed), escape(value.doc))
    people.print(table)
    outputs = ", ".join(f"{v.name} ({v.kind})" if v.name != v.kind else v.kind for v in node.outputs)
    people.print(f"\noutputs: {outputs or 'none'}")

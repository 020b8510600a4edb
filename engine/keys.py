"""Content addresses of node results: a Merkle key for each node, one pass, O(nodes + links)."""

import json
import math
import uuid
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from blake3 import blake3

from engine.cache import PASSING, KeyParts
from engine.check import own_arguments
from engine.files import Files
from engine.graph import Graph, GraphNode
from engine.node import REQUIRED
from engine.ports import Env
from engine.problems import NodeFailure

Lasts = Literal["ever", "process", "run"]
ONCE = "once "
_encode = json.JSONEncoder(separators=(",", ":")).encode


def keys_of(graph: Graph, order: Iterable[str], env: Env) -> tuple[dict[str, KeyParts], dict[str, str]]:
    """The key parts of each node, and its key, which `address` makes of them.

    Args:
        order: Node ids, sources before consumers.
    """
    parts: dict[str, KeyParts] = {}
    keys: dict[str, str] = {}
    for id in order:
        parts[id] = key_parts(graph.nodes[id], keys, env)
        keys[id] = address(parts[id])
    return parts, keys


def key_parts(node: GraphNode, keys: Mapping[str, str], env: Env) -> KeyParts:
    """What decides a node's result.

    The class and its version, its literals (defaults filled in), the keys of what it is linked to, its
    fingerprint; never its id, its title or the order of the JSON. A node that must run each time (volatile, a
    literal without a canonical form, a fingerprint that cannot be known yet) gets a part that never recurs.

    Args:
        keys: Of all nodes that it is linked to.
    """
    other = [f"version {node.node.version}"]
    literals: dict[str, str] = {}
    for value in node.node.inputs:
        if value.hidden:
            if value.hidden == "UNIQUE_ID":
                other.append(f"id {node.id}")
        elif value.name not in node.links:
            literal = node.literals.get(value.name, value.default)
            if literal is not REQUIRED:
                literals[value.name] = _canonical(literal)
    if node.node.volatile:
        other.append(_never())
    if node.node.is_output and Files in env:
        other.append(f"into {env[Files].root('output')}")
    if node.node.fingerprint:
        other.append(_fingerprint(node, env))
    links = {port: (keys[link.node_id], link.slot) for port, link in node.links.items()}
    once = any(text.startswith(ONCE) for text in (*literals.values(), *other))
    passing = node.node.passing or any(key.startswith(PASSING) for key, _ in links.values())
    lasts: Lasts = "run" if once else "process" if passing else "ever"
    return KeyParts(node.node.name, node.id, literals, links, "; ".join(other), lasts)


def address(parts: KeyParts) -> str:
    """The key: blake3 over the canonical JSON of everything but the node's id; 64 hex digits.

    Those of results that must not outlive the process begin with "~", as do those of what depends on them.
    """
    text = _encode(
        [parts.class_type, sorted(parts.literals.items()), sorted(parts.links.items()), parts.other]
    )
    return (PASSING if parts.lasts != "ever" else "") + blake3(text.encode()).hexdigest()


def changes(now: KeyParts, before: KeyParts) -> list[str]:
    """What differs between two key parts of a node, in words: `text was 'a', is 'b'`."""
    words = []
    for port in sorted(now.literals.keys() | before.literals.keys()):
        new, old = now.literals.get(port), before.literals.get(port)
        if new != old:
            words.append(f"{port} was {_short(old)}, is {_short(new)}")
    ports = sorted(now.links.keys() | before.links.keys())
    words += [f"what {p} is linked to changed" for p in ports if now.links.get(p) != before.links.get(p)]
    if now.other != before.other:
        words.append("its file, version or folder changed")
    return words


def _short(text: str | None) -> str:
    return "not set" if text is None else text if len(text) <= 40 else text[:37] + "..."


def _fingerprint(node: GraphNode, env: Env) -> str:
    assert node.node.fingerprint
    arguments = own_arguments(node, node.node.fingerprint, env)
    if arguments is None:
        return _never()
    try:
        return f"print {node.node.fingerprint(**arguments)}"
    except (NodeFailure, OSError):
        return _never()  # what is wrong with the file is said by the node itself


def _canonical(literal: Any) -> str:
    if type(literal) is int:  # most are numbers or texts, and JSON's way takes several times as long
        return repr(literal)
    if isinstance(literal, str):
        return encode_basestring_ascii(literal)
    if isinstance(literal, float) and math.isnan(literal):
        return _never()
    try:
        return json.dumps(literal, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        return _never()


def _never() -> str:
    """A text that no other key holds."""
    return f"{ONCE}{uuid.uuid4().hex}"

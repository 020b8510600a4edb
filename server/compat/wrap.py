"""A pack's class as a node of the engine."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from engine.node import Node
from engine.problems import NodeFailure
from engine.running import Running
from server.compat.calling import GIVEN, run
from server.compat.interface import Interface, interface, outputs
from server.compat.methods import fingerprinter, validator


def wrapped(name: str, cls: type, title: str = "") -> Node[..., Any]:
    """The engine's node for a class.

    Its interface is read anew for each node of a workflow, because it may depend on files and on the inputs
    that the node is given. Its results never outlive the process: a pack's code has no version.

    Args:
        name: The class name in workflows.
    """
    try:
        declared = interface(cls)
    except NodeFailure:  # said again where a workflow uses it
        declared = Interface((), outputs(cls))
    node: Node[..., Any] = Node(
        name=name,
        fn=partial(run, cls, declared),
        category=str(getattr(cls, "CATEGORY", "")),
        title=title or name,
        doc=inspect.cleandoc(getattr(cls, "DESCRIPTION", "") or ""),
        is_output=bool(getattr(cls, "OUTPUT_NODE", False)),
        given={GIVEN: Running},
        takes_lists=True,
        lane="device",
        maps_itself=True,
        passing=True,
    )

    def shape(inputs: Mapping[str, Any]) -> Node[..., Any]:
        return _with_interface(node, cls, interface(cls, inputs))

    return replace(_with_interface(node, cls, declared), shape=shape)


def _with_interface(node: Node[..., Any], cls: type, face: Interface) -> Node[..., Any]:
    return replace(
        node,
        fn=partial(run, cls, face),
        inputs=face.inputs,
        outputs=face.outputs,
        check=validator(cls, face.hidden, face.paths),
        fingerprint=fingerprinter(cls, face.hidden, face.paths),
    )

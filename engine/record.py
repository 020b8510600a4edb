"""What made an output: keys, model hashes, versions and device, written into it beside the workflow."""

import contextlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engine.devices import Devices
from engine.files import Files
from engine.plan import Plan
from engine.ports import Env
from engine.problems import NodeFailure

PACKAGES = ("latentgraph", "torch", "diffusers", "transformers", "spandrel", "numpy", "pillow")


def record(plan: Plan, env: Env) -> dict[str, Any]:
    """The record of a run, the same whenever the same is run on the same device and versions.

    Returns:
        `keys` by node id (output nodes left out: theirs hold the output folder), `files` with the content
        hash of each file that a node names, `versions`, `device`. Seeds stand in the workflow itself.
    """
    keys = {id: key for id, key in plan.keys.items() if not plan.graph.nodes[id].node.is_output}
    return {
        "keys": keys,
        "files": _digests(plan, env[Files]) if Files in env else {},
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "device": env[Devices].device if Devices in env else "cpu",
    }


def _digests(plan: Plan, files: Files) -> dict[str, str]:
    digests: dict[str, str] = {}
    for role, name in plan.files(plan.keys):
        with contextlib.suppress(NodeFailure, OSError):  # a choice that is no file, such as a built-in name
            digests[f"{role}/{name}"] = files.digest(role, name)
    return digests


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

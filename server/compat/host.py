"""What packs may use of the program that they run in; set once, before the first pack is imported."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.devices import Devices
from engine.files import Files
from engine.ports import Env


@dataclass(frozen=True)
class Host:
    """The program that packs run in.

    Args:
        base: Its base directory; `models`, `user` and `custom_nodes` are looked for there.
        arguments: What `comfy.cli_args.args` holds beside its defaults.
    """

    env: Env
    base: Path
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def files(self) -> Files:
        """Its folders by role."""
        return self.env[Files]

    @property
    def device(self) -> str:
        """Where models compute."""
        return self.env[Devices].device if Devices in self.env else "cpu"


_host: list[Host] = []


def set_host(host: Host) -> None:
    """Say what packs run in."""
    _host[:] = [host]


def host() -> Host:
    """What packs run in; an empty place outside a program, as when a pack is imported by a test."""
    if not _host:
        base = Path(tempfile.gettempdir()) / "latentgraph"
        return Host(Env(Files.under(base)), base)
    return _host[0]


def host_of(env: Env, base: Path, **arguments: Any) -> Host:
    """The host that has these things."""
    return Host(env, base.resolve(), tuple(arguments.items()))

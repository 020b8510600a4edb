"""`latentgraph cache`: what the disk cache holds, whether it is sound, and how to empty it."""

from typing import Annotated, Any

import typer

from engine.cache.disk import DiskTier, Stats
from engine.cli.say import line, people
from engine.config import Settings, open_tiers, read_settings
from engine.problems import Problem, WorkflowError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

group = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(
        group, name="cache", help="Look into the disk cache (LATENTGRAPH_CACHE), verify it, empty it."
    )


@group.command()
def stats(as_json: Json = False) -> None:
    """Say how many results are stored and how much room they take; those of a shared store too."""
    settings = read_settings()
    if settings.store is None or str(settings.cache) != "off":
        disk = _disk()
        _say(disk, disk.stats(), as_json, "", **_shared(settings))
    elif as_json:
        line(_shared(settings))
    else:
        people.print(_said(**_shared(settings)))


@group.command()
def verify(as_json: Json = False) -> None:
    """Read every stored result, check its hash, remove what is damaged."""
    disk = _disk()
    found = disk.verify()
    _say(disk, found, as_json, f"{found.damaged} damaged, removed" if found.damaged else "all sound")


@group.command()
def clear(as_json: Json = False) -> None:
    """Remove all stored results."""
    disk = _disk()
    before = disk.stats()
    disk.clear()
    _say(disk, disk.stats(), as_json, f"freed {before.bytes / 2**20:.1f} MB")


def _disk() -> DiskTier:
    for tier in open_tiers(read_settings()).tiers:
        if isinstance(tier, DiskTier):
            return tier
    raise WorkflowError(
        [Problem("bad_setting", "the disk cache is off", hint="set LATENTGRAPH_CACHE to a folder")]
    )


def _shared(settings: Settings) -> dict[str, Any]:
    """What is said of the shared store, if there is one."""
    if settings.store is None:
        return {}
    from engine.cache.store import StoreTier

    store = StoreTier(settings.store)
    found = store.stats()
    return {
        "store": store.url,
        "store_results": found and found.results,
        "store_bytes": found and found.bytes,
    }


def _said(store: str, store_results: int | None, store_bytes: int | None) -> str:
    if store_results is None or store_bytes is None:
        return f"{store}: does not answer"
    return f"{store}: {store_results} results, {store_bytes / 2**20:.1f} MB, shared"


def _say(disk: DiskTier, found: Stats, as_json: bool, note: str, **shared: Any) -> None:
    disk.close()
    if as_json:
        line({"folder": str(disk.folder), **vars(found), **shared})
        return
    people.print(
        f"{disk.folder}: {found.results} results, "
        f"{found.bytes / 2**20:.1f} MB of {found.budget / 2**30:.0f} GB" + (f"; {note}" if note else "")
    )
    if shared:
        people.print(_said(**shared))

"""`latentgraph fetch`: models from the Hugging Face hub into the model folders."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engine.problems import NodeFailure, Problem, WorkflowError

if TYPE_CHECKING:
    from rich.progress import Progress

    from nodes.fetching.placing import Wanted

EPILOG = """[bold]Examples[/]

latentgraph fetch stable-diffusion-v1-5/stable-diffusion-v1-5

latentgraph fetch Comfy-Org/stable-diffusion-v1-5-archive/v1-5-pruned-emaonly-fp16.safetensors

latentgraph fetch latent-consistency/lcm-lora-sdv1-5/pytorch_lora_weights.safetensors --to loras
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="fetch", epilog=EPILOG)(fetch)


def fetch(
    source: Annotated[
        str,
        typer.Argument(metavar="OWNER/NAME[/FILE]", help="A diffusers folder on the hub, or one file there."),
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="Model folder (checkpoints, loras, …).  [default: by content]"),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.  [default: main]")] = None,
    base_directory: Annotated[Path | None, typer.Option(help="Folder with models.  [default: here]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Fetch a model from the Hugging Face hub (HF_ENDPOINT, HF_TOKEN); a cut is taken up where it was."""
    from engine.cli.say import line, people
    from nodes.fetching.hub import FetchFailed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = _Teller(as_json)
    try:
        _quiet(debug)
        told.done(*_fetched(source, to, revision, base_directory, told))
    except KeyboardInterrupt as error:
        told.ended("cancelled")
        if not as_json:
            people.print("[yellow]interrupted; what has come is kept, the same command goes on from there[/]")
        raise typer.Exit(130) from error
    except (FetchFailed, NodeFailure, OSError) as error:
        if debug and not as_json:
            raise
        message = error.message if isinstance(error, FetchFailed | NodeFailure) else str(error)
        hint = error.hint if isinstance(error, FetchFailed | NodeFailure) else "check the disk and its rights"
        if as_json:
            line({"event": "problem", **Problem("fetch_failed", message, hint=hint).as_json()})
        else:
            people.print(f"[bold red]not fetched:[/] {escape(message)}\n      [dim]→ {escape(hint)}[/]")
        told.ended("error")
        raise typer.Exit(1) from error
    except WorkflowError as error:
        if not as_json:
            raise
        for problem in error.problems:
            line({"event": "problem", **problem.as_json()})
        told.ended("error")
        raise typer.Exit(2) from error


def _fetched(
    source: str, to: str | None, revision: str | None, base: Path | None, told: "_Teller"
) -> tuple["Wanted", bool]:
    from engine.config import read_settings
    from nodes.fetching.placing import place

    wanted = _wanted(source, to, revision, read_settings(base_directory=base, cache="off").base_directory)
    with told:
        return wanted, place(wanted, lambda had: told.begun(wanted, had), told.report)


def _wanted(source: str, to: str | None, revision: str | None, base: Path) -> "Wanted":
    """What the arguments mean, as the hub has it now.

    Raises:
        WorkflowError: Nothing, or not one thing.
        FetchFailed: The hub cannot be asked.
    """
    from nodes.fetching import choice
    from nodes.fetching.hub import look_up, read_json, refused, tensor_shapes
    from nodes.fetching.placing import Wanted

    if to is not None and to not in choice.ROLES:
        raise refused(f"there is no model folder {to!r}", f"--to takes {', '.join(choice.ROLES)}")
    owner, _, rest = source.partition("/")
    name, _, path = rest.partition("/")
    if not owner or not name:
        raise refused(f"{source!r} names no repository", "write OWNER/NAME or OWNER/NAME/FILE")
    repository = look_up(f"{owner}/{name}", revision)
    if not path:
        role, files = choice.folder(repository, lambda at: read_json(repository, at))
        return Wanted(repository, files, base / "models", to or role, name, True)
    file = choice.one_file(repository, path)
    found = to or choice.role_of(tensor_shapes(repository, path))
    if found is None:
        roles = "checkpoints, loras, controlnet, vae, upscale_models, embeddings, …"
        raise refused(f"what {path} holds cannot be told before it is here", f"say --to ROLE: {roles}")
    return Wanted(repository, (file,), base / "models", found, choice.name_in(found, repository, path), False)


def _quiet(debug: bool) -> None:
    """Let the hub's library say nothing of its own: what matters of it is said here."""
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    if not debug:
        logging.set_verbosity(logging.ERROR)


class _Teller:
    """How far it is: a bar for people, for programs an event a file and a second."""

    def __init__(self, as_json: bool) -> None:
        self._as_json, self._bars = as_json, None if as_json else _bars()
        self._said, self._file = 0.0, ""
        self._had = self._total = 0
        self._result: dict[str, object] = {}

    def __enter__(self) -> "_Teller":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def begun(self, wanted: "Wanted", had: int) -> None:
        """The first bytes are about to come."""
        from engine.cli.say import line, people

        self._had, self._total = had, wanted.size
        if self._bars:
            if had:
                people.print(f"[dim]{had / 1e6:.1f} MB are here from an earlier try[/]")
            self._bars.add_task(wanted.repository.id, total=wanted.size, completed=had)
            return
        started = {"repository": wanted.repository.id, "commit": wanted.repository.commit}
        line({"event": "started", **started, "files": len(wanted.files), "bytes": wanted.size, "had": had})

    def report(self, path: str, here: int) -> None:
        """So many bytes of all are here."""
        from engine.cli.say import line

        if self._bars:
            self._bars.update(self._bars.task_ids[0], description=escape(path), completed=here)
        elif path != self._file or time.monotonic() - self._said >= 1 or here == self._total:
            self._said, self._file = time.monotonic(), path
            line({"event": "progress", "file": path, "bytes": here, "total": self._total})

    def done(self, wanted: "Wanted", fetched: bool) -> None:
        """The files are at their place."""
        from engine.cli.say import people

        self._result = {"path": str(wanted.target), "role": wanted.role, "name": wanted.name}
        self._result |= {
            "bytes": wanted.size - self._had if fetched else 0,
            "commit": wanted.repository.commit,
        }
        self.ended("success")
        if self._as_json:
            return
        said = "[green]wrote[/] " if fetched else "there already: "
        people.print(said + escape(str(wanted.target)))
        if wanted.role == "checkpoints":
            people.print(f"[dim]use it with --set Checkpoint.ckpt_name={escape(wanted.name)}[/]")

    def ended(self, status: str) -> None:
        """The last event."""
        from engine.cli.say import line

        if self._as_json:
            line({"event": "finished", "status": status, **self._result})


def _bars() -> "Progress":
    from rich import progress

    from engine.cli.say import people

    return progress.Progress(
        progress.SpinnerColumn(finished_text="[green]✓[/]"),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=28),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=people,
        transient=True,
    )

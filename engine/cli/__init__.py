"""The command line: what people type, in terms of the engine; importing it loads no torch and no node."""

import importlib
import logging
import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from engine.problems import WorkflowError

COMMANDS = ("run", "replay", "validate", "nodes", "cache", "convert")
ENTRY_POINTS = "latentgraph.commands"

app = typer.Typer(
    name="latentgraph",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: [bold]latentgraph run text_to_image --set 'Prompt.text=a red house at night'[/bold]",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latentgraph {version('latentgraph')}")
        raise typer.Exit


@app.callback()
def _main(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Run saved image-generation workflows, with a cache that outlives the process and no browser."""
    del show_version


for _name in COMMANDS:
    importlib.import_module(f"engine.cli.{_name}").register(app)
for _point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
    _point.load()(app)


def main() -> None:
    """The command; exits 0 done, 1 a node failed, 2 bad workflow or arguments, 130 interrupted."""
    # Waiting OpenMP threads sleep instead of spinning: on two cores that others use too, 20 steps of the
    # embedded model took 1.3 s in place of 11.2 s. Read by the library when torch loads it; exact.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    if not debug:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        app()
    except WorkflowError as error:
        from engine.cli.say import problems

        problems(error.problems)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"internal error: {type(error).__name__}: {error}\nRun it again with --debug for details.",
            err=True,
        )
        sys.exit(1)

"""`latentgraph serve`: the server, under our own flags and those of ComfyUI that mean the same."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

EPILOG = """[bold]Examples[/]

latentgraph serve

latentgraph serve --port 9000 --base-directory ~/pictures

latentgraph serve --listen 0.0.0.0 --token "$(cat token.txt)"

curl localhost:8188/prompt -d "{\\"prompt\\": $(cat workflow.json)}"
"""
BARE = {"--listen": "0.0.0.0,::", "--enable-cors-header": "*"}
"""What flags mean that may stand without a value."""


class ServeCommand(TyperCommand):
    """Lets some flags stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Fill in the values that were left out."""
        filled: list[str] = []
        for i, arg in enumerate(args):
            filled.append(arg)
            if arg in BARE and (i + 1 == len(args) or args[i + 1].startswith("-")):
                filled.append(BARE[arg])
        return super().parse_args(ctx, filled)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="serve", cls=ServeCommand, epilog=EPILOG)(serve)


def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", "--listen", help="Addresses to listen on.  \\[default: 127.0.0.1]"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.  \\[default: 8188]")] = None,
    base_directory: Annotated[
        Path | None, typer.Option(help="Folder with models, input, output, temp and user.  \\[default: here]")
    ] = None,
    output_directory: Annotated[Path | None, typer.Option(help="Folder for outputs.")] = None,
    input_directory: Annotated[Path | None, typer.Option(help="Folder for inputs.")] = None,
    temp_directory: Annotated[Path | None, typer.Option(help="Folder for previews.")] = None,
    extra_model_paths_config: Annotated[
        Path | None, typer.Option(help="YAML file with more model folders; its custom_nodes are loaded.")
    ] = None,
    custom_nodes: Annotated[
        list[Path] | None, typer.Option(help="Folder of custom node packs: code that runs with your rights.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="Bearer token that callers must send.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen on other addresses without a token.")
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|ray",
            help="Worker processes; 0 runs jobs in the server's own, ray on a Ray cluster.  \\[default: 0]",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, …  \\[default: a GPU if there is one]")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="The same as --device cpu.")] = False,
    preview_method: Annotated[
        str | None, typer.Option(help="How steps are previewed: none, auto, latent2rgb, taesd.")
    ] = None,
    preview_size: Annotated[int | None, typer.Option(help="Longest side of previews, in pixels.")] = None,
    enable_cors_header: Annotated[
        str | None, typer.Option(metavar="[ORIGIN]", help="Let pages of this origin call; alone: of any.")
    ] = None,
    max_upload_size: Annotated[float | None, typer.Option(help="Largest upload, in megabytes.")] = None,
    cache_none: Annotated[bool, typer.Option("--cache-none", help="Keep no results.")] = False,
    cache_classic: Annotated[
        bool, typer.Option("--cache-classic", help="Keep results (which is the default).")
    ] = False,
    cache_lru: Annotated[
        int | None, typer.Option(help="Keep results; their bytes are bounded (memory_gb), not their number.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON objects, one a line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Serve ComfyUI's HTTP API, the jobs API v2 and a page, over a queue that survives anything."""
    del cache_classic, cache_lru
    from engine.config import read_settings
    from server.config import read_server_settings

    settings = read_settings(
        base_directory=base_directory,
        output_directory=output_directory,
        input_directory=input_directory,
        temp_directory=temp_directory,
        extra_model_paths_config=extra_model_paths_config,
        device="cpu" if cpu else device,
        **({"cache": Path("off"), "memory_gb": 0.0} if cache_none else {}),
    )
    server = read_server_settings(
        host=host,
        port=port,
        token=token,
        allow_anonymous=allow_anonymous or None,
        custom_nodes=tuple(custom_nodes) if custom_nodes else None,
        workers=workers,
        preview_method=preview_method,
        preview_size=preview_size,
        allowed_origins=(enable_cors_header,) if enable_cors_header else None,
        max_upload_mb=max_upload_size,
        log_json=log_json or None,
    )
    _refuse_open_door(server)
    _set_up_logs(server.log_json, debug)
    _run(settings, server)


def _refuse_open_door(server: Any) -> None:
    """Another address than loopback without a token is asked for explicitly."""
    from engine.problems import Problem, WorkflowError

    near = all(h.strip() in ("127.0.0.1", "::1", "localhost") for h in server.host.split(","))
    if not (near or server.token or server.allow_anonymous):
        message = f"listening on {server.host} lets anybody who reaches it run jobs"
        hint = "set --token, or say --allow-anonymous"
        raise WorkflowError([Problem("open_door", message, hint=hint)])


def _set_up_logs(as_json: bool, debug: bool) -> None:
    from server.logs import JsonLines

    root = logging.getLogger()
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for handler in root.handlers:
        handler.setFormatter(
            JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        )
    for name in ("alembic", "aiohttp.access", "asyncio", "PIL", "matplotlib", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _run(settings: Any, server: Any) -> None:
    from rich.markup import escape
    from sqlalchemy.exc import SQLAlchemyError

    from engine.cli.say import people
    from server.lock import HeldError
    from server.serving import serve as serve_until_stopped

    def ready(address: str) -> None:
        people.print(f"latentgraph is at [bold]{address}[/]  (Ctrl-C stops it; queued jobs are kept)")
        sys.stderr.flush()

    try:
        asyncio.run(serve_until_stopped(settings, server, ready))
        logging.shutdown()
        os._exit(0)  # a node that takes no steps must not keep the process: its job was put back
    except HeldError as error:
        people.print(f"[red]{error}[/]; stop it, or use another --base-directory")
        raise typer.Exit(3) from error
    except SQLAlchemyError as error:
        people.print(f"[red]the queue's database cannot be opened:[/] {escape(str(error))}")
        raise typer.Exit(2) from error
    except OSError as error:
        people.print(f"[red]cannot listen on {server.host}:{server.port}:[/] {error.strerror or error}")
        raise typer.Exit(2) from error

"""The server's settings: the `[server]` table of `latentgraph.toml`, `LATENTGRAPH_SERVER_…`, flags."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from engine.config import PackageSettings, settings_of

PreviewMethod = Literal["none", "auto", "latent2rgb", "taesd"]


class ServerSettings(PackageSettings):
    """What can be set of the server, wherever it is set.

    Args:
        host: Addresses to listen on, separated by commas.
        port: TCP port.
        token: Bearer token that every route but health asks for; default: none.
        allow_anonymous: Whether another address than loopback may be listened on without a token.
        allowed_hosts: Further names that a Host header may have, beside loopback and the addresses of `host`.
        allowed_origins: Origins of other sites whose pages may call; "*" for all.
        max_prompt_mb: Largest body of a prompt, in megabytes.
        max_upload_mb: Largest upload, in megabytes.
        max_megapixels: Most pixels of a picture that is read, over all its frames, in millions.
        max_job_megapixels: Most pixels that one node may be asked for, over the whole batch, in millions.
        max_nodes: Most nodes of a prompt.
        max_queue: Most jobs that may wait.
        history_entries: Finished jobs that are kept.
        history_days: Days that finished jobs are kept.
        database: SQLAlchemy URL of the queue; default: SQLite in `user` under the base directory.
        jobs_at_once: Jobs that a worker runs together.
        workers: Worker processes; 0 runs jobs in the server's own process, "ray" on a Ray cluster.
        ray_cpus: CPUs that a worker on Ray takes; default: one beside its GPU, without GPUs all of a node's.
        custom_nodes: Folders of custom node packs, which are code that will be run; none by default.
        input_urls: Hosts that inputs may be fetched from by URL; none by default.
        webhook_secret: Key that webhooks are signed with.
        webhook_hosts: Hosts beside public ones that webhooks may go to (`localhost`, `10.0.0.7:8000`).
        preview_method: How steps are previewed on the classic socket; the page always shows them.
        preview_size: Longest side of a preview, in pixels.
        root_page: What stands at `/`: our page, or the editor.
        log_json: Whether logs are JSON lines.
        stop_seconds: Seconds that a running job gets to end when the server is told to stop.
    """

    model_config = SettingsConfigDict(env_prefix="LATENTGRAPH_SERVER_")
    table: ClassVar[str] = "server"
    host: str = "127.0.0.1"
    port: int = Field(default=8188, ge=0, le=65535)
    token: str | None = None
    allow_anonymous: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_prompt_mb: float = Field(default=64, gt=0)
    max_upload_mb: float = Field(default=100, gt=0)
    max_megapixels: float = Field(default=100, gt=0)
    max_job_megapixels: float = Field(default=1_000, gt=0)
    max_nodes: int = Field(default=50_000, gt=0)
    max_queue: int = Field(default=100_000, gt=0)
    history_entries: int = Field(default=10_000, ge=0)
    history_days: float = Field(default=30, ge=0)
    database: str | None = None
    jobs_at_once: int = Field(default=1, ge=1, le=64)
    workers: Annotated[int, Field(ge=0, le=64)] | Literal["ray"] = 0
    ray_cpus: float | None = Field(default=None, gt=0)
    custom_nodes: tuple[Path, ...] = ()
    input_urls: tuple[str, ...] = ()
    webhook_secret: str | None = None
    webhook_hosts: tuple[str, ...] = ()
    preview_method: PreviewMethod = "none"
    preview_size: int = Field(default=512, ge=32, le=4096)
    root_page: Literal["page", "editor"] = "page"
    log_json: bool = False
    stop_seconds: float = Field(default=8.0, ge=0)


def read_server_settings(**flags: Any) -> ServerSettings:
    """The server's settings, with flags (None: not given) over everything else.

    Raises:
        WorkflowError: Settings that do not exist or have a wrong value, all of them.
    """
    return settings_of(ServerSettings, flags)

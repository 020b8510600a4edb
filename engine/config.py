"""The settings: flags over environment (`LATENTGRAPH_…`) over `latentgraph.toml` over defaults, read once."""

import logging
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.cache import Tier, Tiers
from engine.cache.disk import DiskTier
from engine.cache.memory import MemoryTier
from engine.devices import Devices, Precision
from engine.files import Files
from engine.ports import Env
from engine.problems import Problem, WorkflowError
from engine.registry import Registry

log = logging.getLogger(__name__)

S = TypeVar("S", bound=BaseSettings)
ALIASES = {"unet": "diffusion_models", "clip": "text_encoders"}


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentgraph"


class PackageSettings(BaseSettings):
    """Settings of one package: flags first, then the environment, then its part of `latentgraph.toml`."""

    model_config = SettingsConfigDict(
        toml_file="latentgraph.toml", frozen=True, extra="forbid", use_attribute_docstrings=True
    )
    table: ClassVar[str] = ""
    """The table of the file that holds them; those of the engine stand above all tables."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order in which the sources win."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _Part(settings_cls, cls.table)


class _Part(TomlConfigSettingsSource):
    """A table of the file, or what stands above all tables."""

    def __init__(self, settings_cls: type[BaseSettings], table: str) -> None:
        self._table = table
        super().__init__(settings_cls)

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        found = super()._read_file(file_path)
        if not self._table:
            return {k: v for k, v in found.items() if not isinstance(v, dict)}
        part: dict[str, Any] = found.get(self._table, {})
        return part


class Settings(PackageSettings):
    """What can be set, wherever it is set.

    Args:
        base_directory: Holds models, input, output and temp.
        output_directory: Where outputs go; default: output in the base directory.
        input_directory: Where inputs are looked for; default: input in the base directory.
        temp_directory: Where previews go; default: temp in the base directory.
        cache: Folder of the disk cache, or "off".
        cache_gb: Gigabytes that the disk cache may take.
        store: Where results are kept for engines on other machines too: a shared folder, or a URL for fsspec.
        memory_gb: Gigabytes that results may take in memory.
        device: Where models compute ("cpu", "cuda", "cuda:1"); default: a GPU if there is one.
        precision: What networks compute in: "fp32", "fp16", "bf16"; "auto" takes half on a GPU where safe.
        model_gb: Gigabytes of loaded models kept on the device; default: 70 % of its memory.
        extra_model_paths_config: A YAML file with more model folders, in the ecosystem's form.
    """

    model_config = SettingsConfigDict(env_prefix="LATENTGRAPH_")
    base_directory: Path = Path()
    output_directory: Path | None = None
    input_directory: Path | None = None
    temp_directory: Path | None = None
    cache: Path = Field(default_factory=_default_cache)
    cache_gb: float = Field(default=20.0, ge=0)
    store: str | None = None
    memory_gb: float = Field(default=2.0, ge=0)
    device: str | None = None
    precision: Precision = "auto"
    model_gb: float | None = Field(default=None, gt=0)
    extra_model_paths_config: Path | None = None


def read_settings(**flags: Any) -> Settings:
    """The settings, with flags (None: not given) over everything else.

    Raises:
        WorkflowError: Settings that do not exist or have a wrong value, all of them.
    """
    return settings_of(Settings, flags)


def settings_of(kind: type[S], flags: Mapping[str, Any]) -> S:
    """Settings of one package, with flags (None: not given) over everything else.

    Raises:
        WorkflowError: Settings that do not exist or have a wrong value, all of them.
    """
    try:
        return kind(**{k: v for k, v in flags.items() if v is not None})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"latentgraph.toml cannot be read: {error}"
        raise WorkflowError([Problem("bad_setting", problem, hint="mend it or remove it")]) from error
    except ValidationError as error:
        problems = [
            Problem(
                "bad_setting",
                f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}",
                hint="see `latentgraph run --help`, LATENTGRAPH_… variables and latentgraph.toml",
            )
            for e in error.errors()
        ]
        raise WorkflowError(problems) from error


def open_tiers(settings: Settings) -> Tiers:
    """The cache tiers that the settings ask for.

    Raises:
        WorkflowError: The store is none that can be used.
    """
    tiers: list[Tier] = [MemoryTier(int(settings.memory_gb * 2**30))]
    if str(settings.cache) != "off":
        try:
            tiers.append(DiskTier(settings.cache.expanduser(), int(settings.cache_gb * 2**30)))
        except (OSError, sqlite3.OperationalError) as error:
            log.warning("the cache in %s cannot be used (%s); going on without it", settings.cache, error)
    if settings.store is not None:
        from engine.cache.store import StoreTier  # brings fsspec

        tiers.append(StoreTier(settings.store))
    return Tiers(tiers)


def make_env(
    settings: Settings,
    registry: Registry,
    tiers: Tiers,
    items: Mapping[str, Mapping[str, Path]] | None = None,
) -> Env:
    """What nodes are given: the files, the device, and what the packs provide.

    Args:
        items: More files by role and name, beside those that come with the packs.
    """
    merged = registry.items
    for role, named in (items or {}).items():
        merged.setdefault(role, {}).update(named)
    extra = _extra_folders(settings.extra_model_paths_config) if settings.extra_model_paths_config else {}
    memo = next((t for t in tiers.tiers if isinstance(t, DiskTier)), None)
    instead = {
        "output": settings.output_directory,
        "input": settings.input_directory,
        "temp": settings.temp_directory,
    }
    files = Files.under(settings.base_directory, instead=instead, items=merged, extra=extra, memo=memo)
    budget = None if settings.model_gb is None else int(settings.model_gb * 2**30)
    provided = [x for pack in registry.packs for x in pack.provides()]
    return Env(files, Devices(settings.device, budget, precision=settings.precision), *provided)


def _extra_folders(path: Path) -> dict[str, list[Path]]:
    """Model folders of an `extra_model_paths.yaml`: groups with `base_path` and `role: paths`, one a line."""
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WorkflowError(
            [Problem("bad_setting", f"{path} cannot be read: {error}", hint="check extra_model_paths_config")]
        ) from error
    folders: dict[str, list[Path]] = {}
    for group in groups.values() if isinstance(groups, dict) else ():
        if not isinstance(group, dict):
            continue
        base = path.parent / Path(os.path.expandvars(str(group.get("base_path", "")))).expanduser()
        for role, lines in group.items():
            if role not in ("base_path", "is_default") and isinstance(lines, str):
                known = folders.setdefault(ALIASES.get(str(role), str(role)), [])
                known += [base / line.strip() for line in lines.splitlines() if line.strip()]
    return folders

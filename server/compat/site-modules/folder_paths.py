"""The folders as packs ask for them: lists of paths and of extensions, by the ecosystem's names."""

import mimetypes
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from engine.files import WEIGHT_SUFFIXES
from engine.folders import listed
from server.compat.host import host

supported_pt_extensions: set[str] = set(WEIGHT_SUFFIXES)
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
filename_list_cache: dict[str, object] = {}
LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
NO_FILTER = ("custom_nodes",)
OTHER = {"webp": "image", "fbx": "model", "glb": "model", "gltf": "model", "obj": "model", "stl": "model"}

base_path = str(host().base)
models_dir = str(host().base / "models")
_directories = {role: str(host().files.folders[role][0].resolve()) for role in ("input", "output", "temp")}
_directories["user"] = str(host().base / "user")


def _fill() -> None:
    for role, paths in host().files.folders.items():
        if role not in _directories:
            suffixes = set() if role in NO_FILTER else {".yaml"} if role == "configs" else WEIGHT_SUFFIXES
            folder_names_and_paths[role] = ([str(p.resolve()) for p in paths], set(suffixes))
    folder_names_and_paths.setdefault("custom_nodes", ([str(host().base / "custom_nodes")], set()))


_fill()


def map_legacy(folder_name: str) -> str:
    """The present name of a folder."""
    return LEGACY.get(folder_name, folder_name)


def get_output_directory() -> str:
    """Where outputs go."""
    return _directories["output"]


def get_temp_directory() -> str:
    """Where previews go."""
    return _directories["temp"]


def get_input_directory() -> str:
    """Where inputs are."""
    return _directories["input"]


def get_user_directory() -> str:
    """Where users' files are."""
    return _directories["user"]


def set_output_directory(output_dir: str) -> None:
    """Have packs write elsewhere."""
    _directories["output"] = output_dir


def set_temp_directory(temp_dir: str) -> None:
    """Have packs write previews elsewhere."""
    _directories["temp"] = temp_dir


def set_input_directory(input_dir: str) -> None:
    """Have packs read elsewhere."""
    _directories["input"] = input_dir


def set_user_directory(user_dir: str) -> None:
    """Have packs keep users' files elsewhere."""
    _directories["user"] = user_dir


def get_directory_by_type(type_name: str) -> str | None:
    """The folder for "input", "output" or "temp"; None for another name."""
    return _directories.get(type_name) if type_name != "user" else None


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """A name apart from its folder: "a.png [output]" is a.png in the output folder."""
    for role in ("output", "input", "temp"):
        if name.endswith(f"[{role}]"):
            return name.removesuffix(f"[{role}]").rstrip(), _directories[role]
    return name, None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """The path that a name means, which may name its folder."""
    bare, folder = annotated_filepath(name)
    return str(Path(folder or default_dir or get_input_directory()) / bare)


def exists_annotated_filepath(name: str) -> bool:
    """Whether there is such a file."""
    return Path(get_annotated_filepath(name)).exists()


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """Have packs look for models in one folder more, first of all if `is_default`."""
    paths, _ = folder_names_and_paths.setdefault(map_legacy(folder_name), ([], set()))
    if full_folder_path in paths:
        if not is_default or paths[0] == full_folder_path:
            return
        paths.remove(full_folder_path)
    paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    """The folders of a role."""
    return folder_names_and_paths[map_legacy(folder_name)][0][:]


def recursive_search(
    directory: str, excluded_dir_names: list[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """The files below a folder by relative path, and when each folder was changed."""
    files: list[str] = []
    changed: dict[str, float] = {}
    for root, names, found in os.walk(directory, followlinks=True):
        names[:] = [n for n in names if n not in (excluded_dir_names or [])]
        changed[root] = Path(root).stat().st_mtime
        files += [os.path.relpath(Path(root) / f, directory) for f in found]
    return files, changed


def filter_files_extensions(files: Collection[str], extensions: Collection[str]) -> list[str]:
    """The names with one of these endings (all of them where there are none), sorted."""
    return sorted(f for f in files if not extensions or Path(f).suffix.lower() in extensions)


def filter_files_content_types(
    files: list[str], content_types: list[Literal["image", "video", "audio", "model"]]
) -> list[str]:
    """The names whose ending says that they hold such a thing."""

    def kind(name: str) -> str:
        ending = name.rpartition(".")[2].lower()
        return OTHER.get(ending) or (mimetypes.guess_type(name)[0] or "").partition("/")[0]

    return [f for f in files if kind(f) in content_types]


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The path of a file of a role, or None."""
    role = map_legacy(folder_name)
    if (item := host().files.items.get(role, {}).get(filename)) is not None:
        return str(item)
    for folder in folder_names_and_paths.get(role, ([], set()))[0]:
        path = Path(folder) / os.path.relpath(Path("/") / filename, "/")
        if path.exists():
            return str(path)
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """The path of a file of a role.

    Raises:
        FileNotFoundError: There is none.
    """
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"there is no {filename!r} among the {folder_name}")
    return path


def get_filename_list(folder_name: str) -> list[str]:
    """The files of a role by name, those that come with the program among them."""
    role = map_legacy(folder_name)
    paths, suffixes = folder_names_and_paths[role]
    found = set(host().files.items.get(role, {}))
    for folder in paths:
        found.update(listed(Path(folder), tuple(s for s in suffixes if s.startswith("."))))
    return sorted(found)


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Where the next file of a prefix goes.

    Returns:
        The folder, the file's stem, the first free number, the subfolder, the prefix with words filled in.

    Raises:
        ValueError: The prefix leads out of the folder.
    """
    prefix = _filled(filename_prefix, image_width, image_height)
    subfolder, stem = os.path.split(os.path.normpath(prefix))
    root = Path(output_dir).resolve()
    folder = (root / subfolder).resolve()
    if not folder.is_relative_to(root):
        raise ValueError(f"{filename_prefix!r} leads out of the output folder")
    folder.mkdir(parents=True, exist_ok=True)
    numbered = re.compile(re.escape(stem) + r"_(\d+)\D?.*", re.I)
    taken = [int(m[1]) for p in folder.iterdir() if (m := numbered.fullmatch(p.name))]
    return str(folder), stem, max(taken, default=0) + 1, subfolder, prefix


def _filled(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    words = {
        "width": str(width), "height": str(height), "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}", "day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}", "second": f"{now.tm_sec:02}",
    }  # fmt: skip
    for word, value in words.items():
        prefix = prefix.replace(f"%{word}%", value)
    return prefix


def get_input_subfolders() -> list[str]:
    """The folders below the input folder, by relative path."""
    root = Path(get_input_directory())
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_dir())

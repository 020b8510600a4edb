"""MediaPipe's two networks of faces, from its package where that is installed, else from its wheel."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

MODULES = {
    "face_detection_short_range.tflite": "face_detection",
    "face_landmark_with_attention.tflite": "face_landmark",
}
_WHEEL = (
    "download", "--quiet", "--retries", "1", "--timeout", "20", "--no-deps", "--only-binary", ":all:",
    "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "mediapipe==0.10.21",
)  # fmt: skip


@functools.cache
def contents() -> dict[str, bytes]:
    """The content of each file by its name; the test is skipped where they cannot be had."""
    package = importlib.util.find_spec("mediapipe")
    if package and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0], "modules")
        return {name: (folder / module / name).read_bytes() for name, module in MODULES.items()}
    folder = Path(tempfile.mkdtemp())
    try:
        found = subprocess.run(
            [sys.executable, "-m", "pip", *_WHEEL, "--dest", str(folder)],
            env={key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"},
            capture_output=True,
            timeout=300,
            check=False,
        )
        if found.returncode:
            pytest.skip("mediapipe's networks: it is not installed, and its wheel cannot be downloaded")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            return {
                name: wheel.read(f"mediapipe/modules/{module}/{name}") for name, module in MODULES.items()
            }
    finally:
        shutil.rmtree(folder)


def stored(base: Path) -> Path:
    """Write both files to where a node finds them under a base folder; returns their folder."""
    folder = base / "models" / "controlnet_aux" / "mediapipe"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return folder

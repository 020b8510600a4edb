"""What is listed of a folder, whatever stands in it, and hashes of what a file holds."""

from pathlib import Path

import pytest
from blake3 import blake3

from engine.folders import PIECE, content_hash, listed


def test_a_folder_that_cannot_be_looked_into_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    deep = tmp_path
    while len(str(deep)) < 4_085:  # paths have at most 4,095 characters: no file in it can be named
        deep /= "d" * min(250, 4_090 - len(str(deep)) - 1)
        deep.mkdir()
    assert list(listed(tmp_path, (".safetensors",))) == ["a.safetensors"]


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 5])
def test_a_file_is_hashed_in_pieces_as_it_is_whole(tmp_path: Path, size: int) -> None:
    content = (b"latentgraph" * (size // 11 + 1))[:size]
    (tmp_path / "f").write_bytes(content)
    assert content_hash(tmp_path / "f") == blake3(content).hexdigest()

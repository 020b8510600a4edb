"""What is listed of a folder, whatever stands in it."""

from pathlib import Path

from engine.folders import listed


def test_a_folder_that_cannot_be_looked_into_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    deep = tmp_path
    while len(str(deep)) < 4_085:  # paths have at most 4,095 characters: no file in it can be named
        deep /= "d" * min(250, 4_090 - len(str(deep)) - 1)
        deep.mkdir()
    assert list(listed(tmp_path, (".safetensors",))) == ["a.safetensors"]

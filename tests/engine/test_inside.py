"""Paths that workflows name: compared with what following every link gives, also where links change."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import paths
from engine.paths import inside, resolved
from engine.problems import NodeFailure

PARTS = st.sampled_from(["a", "b", "file", "..", ".", "", "in", "out", "round", "gone", "x..y"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links that stay inside, lead out, lead in circles and lead nowhere."""
    base = tmp_path_factory.mktemp("tree")
    folder = base / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (base / "secret").mkdir()
    (folder / "a" / "file").write_text("x")
    (folder / "in").symlink_to(folder / "a")
    (folder / "out").symlink_to(base / "secret")
    (folder / "a" / "out").symlink_to("../../secret")
    (folder / "round").symlink_to("round")
    (folder / "gone").symlink_to(base / "nothing")
    return folder


@given(parts=st.lists(PARTS, max_size=5), known=st.booleans(), absolute=st.booleans())
def test_a_path_is_what_following_every_link_gives_or_is_refused(
    tree: Path, parts: list[str], known: bool, absolute: bool
) -> None:
    name = ("/" if absolute else "") + "/".join(parts)
    try:
        wanted = (tree / name).resolve()
    except (OSError, RuntimeError):  # in circles
        wanted = tree.parent
    try:
        found = inside(tree, name, root=tree.resolve() if known else None)
    except NodeFailure:
        assert not wanted.is_relative_to(tree.resolve())
    else:
        assert found == wanted


@pytest.mark.parametrize("name", ["a\0b", "\0", "a/\0/../b", "\ud800"])
@pytest.mark.parametrize("follow", [True, False])
def test_a_name_that_no_file_can_have_is_refused(tree: Path, name: str, follow: bool) -> None:
    with pytest.raises(NodeFailure, match="no usable file name"):
        inside(tree, name, follow)


def test_a_relative_folder_is_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert resolved(Path("output")) == tmp_path / name / "output"


def test_a_folder_that_is_linked_elsewhere_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    assert resolved(link) == tmp_path / "one"
    link.unlink()
    link.symlink_to("two")
    monkeypatch.setattr(paths, "KNOWN_S", 0.0)
    assert resolved(link) == tmp_path / "two"

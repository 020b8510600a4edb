import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files import Files
from server.paths import Outside, Refused, annotated, found, path_in, plain_name, shown

PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "//",
        "\\",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "%00",
        "%252e",
        "\x00",
        "\n",
        "a",
        "b.png",
        "out",
        "up",
        "loop",
        "C:",
        "nul",
        "COM1.png",
        ".draft-x",
        " ",
        "~",
        "$HOME",
        "é",
        "\ud800",
        "\udcff",
        "x" * 260,
        "‥",
        "．．",
    ]
)
NAMES = st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join) | st.text(max_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links: one leads out, one to the folder above, one to itself, one stays inside."""
    base = tmp_path_factory.mktemp("paths")
    (base / "secret.txt").write_text("no")
    root = base / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "b.png").write_text("yes")
    (root / "out").symlink_to("/etc")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "in").symlink_to("a")
    return root


@given(name=NAMES)
def test_no_name_means_a_path_outside_its_folder(folder: Path, name: str) -> None:
    try:
        path = path_in(folder, name)
    except Refused:
        return
    assert path.is_relative_to(folder.resolve())
    assert Path(os.path.realpath(path)).is_relative_to(folder.resolve())
    os.fsencode(path)
    assert "\0" not in str(path)


@given(subfolder=NAMES, filename=NAMES, type=st.sampled_from(["input", "output", "temp"]) | NAMES)
def test_a_file_that_is_found_is_inside_the_folder_of_its_type(
    folder: Path, subfolder: str, filename: str, type: str
) -> None:
    files = Files(dict.fromkeys(("input", "output", "temp"), (folder,)))
    try:
        path = found(files, type, subfolder, filename)
    except Refused:
        return
    assert path is None or path.is_relative_to(folder.resolve())


@given(name=NAMES)
def test_a_plain_name_is_one_part_of_a_path(name: str) -> None:
    try:
        plain_name(name)
    except Refused:
        return
    assert Path(name).name == name
    assert "/" not in name


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a/../../b",
        "/etc/passwd",
        "C:/x",
        "%2e%2e/x",
        "%252e%252e%252fx",
        "out/passwd",
        "up/secret.txt",
        "up",
    ],
)
def test_a_name_that_leads_out_says_so(folder: Path, name: str) -> None:
    with pytest.raises(Outside, match="leads out"):
        path_in(folder, name)


@pytest.mark.parametrize(
    "name",
    [
        "a\x00b",
        "a\\b",
        "a\nb",
        "%00",
        "a%5cb",
        "x" * 256,
        "y/" * 600,
        "\ud800",
        "...",
        "a/ ",
        "nul",
        "Aux.png",
        "com1.tar.gz",
        "sub/LPT9",
        ".draft-1.png",
        ".DRAFT-1.png",
        "loop/x",
    ],
)
def test_a_name_that_some_system_cannot_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(Refused):
        path_in(folder, name)


@pytest.mark.parametrize(
    "name",
    [
        "b.png",
        "a/b.png",
        "./a//b.png",
        "100%.png",
        "a%20b.png",
        "console.png",
        "ü 1 (2).png",
        ".index.json",
        "a..b",
    ],
)
def test_ordinary_names_are_taken(folder: Path, name: str) -> None:
    assert path_in(folder, name) == Path(os.path.normpath(folder.resolve() / name))


def test_a_link_that_stays_inside_is_followed(folder: Path) -> None:
    assert path_in(folder, "in/b.png").read_text() == "yes"


def test_a_type_in_brackets_is_cut_off_with_the_character_before_it() -> None:
    assert annotated("u.png [input]") == ("u.png", "input")
    assert annotated("u.png [other]") == ("u.png [other]", None)
    assert annotated("[temp]") == ("", "temp")


def test_a_folder_outside_the_base_is_shown_by_its_bare_name(tmp_path: Path) -> None:
    assert shown(tmp_path / "models" / "vae", tmp_path) == "models/vae"
    assert shown(Path("/mnt/big/loras"), tmp_path) == "loras"

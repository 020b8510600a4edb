"""`latentgraph replay`: the same is called the same; what is another is named, before it runs or after."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from conftest import PICTURE, Cli  # type: ignore[import-not-found]
from PIL.PngImagePlugin import PngInfo

from engine.problems import WorkflowError

MADE = "output/made/it_00001_.png"
WITH_INPUT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}, "_meta": {"title": "Image"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "made/it"}},
}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def made(cli: Cli, here: Path) -> Path:
    """A lock file; its picture is `MADE`."""
    assert cli("run", "picture.json", "--lock", "made.json").exit_code == 0
    return here / "made.json"


def altered(lock: Path, **record: Any) -> str:
    """A lock file with some of its record replaced."""
    said = json.loads(lock.read_text())
    for name, value in record.items():
        said["latentgraph"][name] = {**said["latentgraph"].get(name, {}), **value}
    other = lock.with_name("altered.json")
    other.write_text(json.dumps(said))
    return str(other)


def resaved(name: str, *, pixel: int | None = None, **texts: str | None) -> str:
    """The picture saved anew, with some of its texts or a pixel replaced."""
    with PIL.Image.open(MADE) as picture:
        kept: dict[str, Any] = {**picture.text, **texts}  # type: ignore[attr-defined]
        info = PngInfo()
        for key, text in kept.items():
            if text is not None:
                info.add_text(key, text)
        copy = picture.copy()
    if pixel is not None:
        copy.putpixel((1, 1), (pixel, 255, 0))  # the others are (255, 255, 0)
    copy.save(name, pnginfo=info)
    return name


def test_a_picture_is_the_same_and_nothing_is_written(cli: Cli, made: Path, here: Path) -> None:
    before = sorted(p for p in here.rglob("*") if p.is_file())
    shown = cli("replay", MADE, "--json")
    assert shown.exit_code == 0
    *nodes, last = lines(shown.stdout)
    assert [(x["node_id"], x["class_type"]) for x in nodes] == [
        ("1", "EmptyImage"), ("2", "ImageInvert"), ("3", "SaveImage")
    ]  # fmt: skip
    assert all(x["event"] == "node" and x["same"] is True for x in nodes)
    assert last["event"] == "finished"
    assert (last["status"], last["first_difference"], last["bit_for_bit"]) == ("same", None, True)
    assert sorted(p for p in here.rglob("*") if p.is_file()) == before


def test_a_lock_file_is_the_same_and_can_be_run(cli: Cli, made: Path) -> None:
    assert lines(cli("replay", str(made), "--json").stdout)[-1]["status"] == "same"
    assert lines(cli("run", str(made), "--json").stdout)[-1]["executed"] == []
    assert "same" in cli("replay", str(made)).stderr


def test_a_picture_saved_anew_with_the_same_pixels_is_the_same(cli: Cli, made: Path) -> None:
    assert cli("replay", resaved("copy.png")).exit_code == 0


def test_caches_are_not_asked(cli: Cli, made: Path, here: Path) -> None:
    """A cache that holds nothing but damage is no obstacle."""
    for path in (here / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    assert cli("replay", MADE).exit_code == 0


def test_the_first_node_that_differs_is_named(cli: Cli, made: Path) -> None:
    shown = cli("replay", altered(made, results={"1": "0" * 32, "2": "1" * 32}), "--json")
    last = lines(shown.stdout)[-1]
    assert shown.exit_code == 1
    assert last["status"] == "differs"
    first = last["first_difference"]
    assert (first["node_id"], first["class_type"], first["title"]) == ("1", "EmptyImage", "Picture")
    assert first["recorded"] == "0" * 32
    assert first["found"] == json.loads(made.read_text())["latentgraph"]["results"]["1"]
    assert 'node 1 (EmptyImage) "Picture"' in cli("replay", "altered.json").stderr


def test_an_edited_picture_differs_at_the_node_that_wrote_it(cli: Cli, made: Path) -> None:
    last = lines(cli("replay", resaved("painted.png", pixel=7), "--json").stdout)[-1]
    assert last["first_difference"]["node_id"] == "3"
    assert last["largest_difference"] == pytest.approx(248 / 255)


@pytest.mark.parametrize(("levels", "status", "code"), [(0, "same", 0), (8, "close", 0), (9, "differs", 1)])
def test_other_versions_are_said_and_compared_within_the_tolerance(
    cli: Cli, made: Path, levels: int, status: str, code: int
) -> None:
    record = json.loads(made.read_text())["latentgraph"]
    record["versions"]["torch"] = "1.0"
    texts = {"latentgraph": json.dumps(record)}
    shown = cli("replay", resaved("older.png", pixel=255 - levels, **texts), "--json")
    change, *_, last = lines(shown.stdout)
    assert (change["event"], change["what"], change["recorded"]) == ("changed", "torch", "1.0")
    assert (last["status"], shown.exit_code, last["bit_for_bit"]) == (status, code, False)
    assert last["largest_difference"] == pytest.approx(levels / 255)
    assert "torch" in cli("replay", "older.png").stderr


def test_another_device_is_said(cli: Cli, made: Path) -> None:
    said = json.loads(made.read_text())
    said["latentgraph"]["device_name"] = "an abacus"
    made.write_text(json.dumps(said))
    change, *_, last = lines(cli("replay", str(made), "--json").stdout)
    assert (change["what"], change["recorded"]) == ("device", "an abacus")
    assert last["status"] == "same", "if the bits are the same all the same, they are"


def test_all_that_keeps_a_run_from_being_the_same_is_said_at_once(cli: Cli, here: Path) -> None:
    (here / "input").mkdir()
    PIL.Image.new("RGB", (4, 4), "red").save(here / "input" / "in.png")
    (here / "with_input.json").write_text(json.dumps(WITH_INPUT))
    assert cli("run", "with_input.json", "--lock", "made.json").exit_code == 0
    PIL.Image.new("RGB", (4, 4), "blue").save(here / "input" / "in.png")
    name = altered(here / "made.json", versions={"torch": "1.0"}, keys={"2": "0" * 64, "9": "0" * 64})
    shown = cli("replay", name, "--json")
    assert shown.exit_code == 2
    *problems, last = lines(shown.stdout)
    said = [(p["code"], p["node_id"]) for p in problems]
    assert said == [("changed_file", "1"), ("changed_node", "9"), ("other_surroundings", "")]
    assert "input/in.png" in problems[0]["message"]
    assert last["status"] == "error"
    (here / "input" / "in.png").unlink()
    assert [p["code"] for p in lines(cli("replay", MADE, "--json").stdout)[:-1]] == ["value_not_in_list"]


def test_a_workflow_that_is_not_the_recorded_one_is_refused(cli: Cli, made: Path) -> None:
    prompt = {**PICTURE, "1": {**PICTURE["1"], "inputs": {**PICTURE["1"]["inputs"], "color": 1}}}
    shown = cli("replay", resaved("other.png", prompt=json.dumps(prompt)), "--json")
    assert shown.exit_code == 2
    assert [(p["code"], p["node_id"]) for p in lines(shown.stdout)[:-1]] == [("changed_node", "1")]


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"prompt": None, "latentgraph": None}, "no_workflow"),
        ({"latentgraph": None}, "no_record"),
        ({"latentgraph": "{"}, "bad_record"),
        ({"latentgraph": "[]"}, "bad_record"),
        ({"latentgraph": json.dumps({"keys": 3})}, "bad_record"),
        ({"latentgraph": json.dumps({"rungs": {"1": 10**9}})}, "bad_record"),
        ({"latentgraph": json.dumps({"threads": 10**9})}, "bad_record"),
        ({"latentgraph": json.dumps({"targets": ["8"]})}, "bad_setting"),
    ],
)
def test_a_picture_without_a_sound_record_is_refused(
    cli: Cli, made: Path, texts: dict[str, str | None], code: str
) -> None:
    shown = cli("replay", resaved("bad.png", **texts), "--json")
    assert shown.exit_code == 2
    assert lines(shown.stdout)[0]["code"] == code
    assert lines(shown.stdout)[-1]["event"] == "finished"


def test_what_is_no_picture_of_ours_is_refused(cli: Cli, made: Path, here: Path) -> None:
    PIL.Image.new("RGB", (2, 2)).save(here / "a.jpg")
    (here / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(64)))
    for name in ("a.jpg", "noise.png", "picture.json", "nowhere.png"):
        assert isinstance(cli("replay", name).exception, WorkflowError)


def test_a_node_that_fails_now_is_exit_code_1(cli: Cli, here: Path) -> None:
    (here / "input").mkdir()
    PIL.Image.new("RGB", (4, 4)).save(here / "input" / "in.png")
    (here / "with_input.json").write_text(json.dumps(WITH_INPUT))
    cli("run", "with_input.json", "--lock", "made.json")
    (here / "input" / "in.png").write_bytes(b"no picture")
    said = json.loads((here / "made.json").read_text())
    said["latentgraph"] |= {"files": {}, "keys": {}}
    (here / "made.json").write_text(json.dumps(said))
    shown = cli("replay", "made.json", "--json")
    assert shown.exit_code == 1
    assert lines(shown.stdout)[-1]["status"] == "error"


def test_a_file_given_by_path_is_found_again(cli: Cli, here: Path) -> None:
    PIL.Image.new("RGB", (4, 4), "red").save(here / "photo.png")
    (here / "with_input.json").write_text(json.dumps(WITH_INPUT))
    assert cli("run", "with_input.json", "--set", "Image.image=photo.png").exit_code == 0
    assert cli("replay", MADE).exit_code == 0


def test_a_lock_holds_the_graph_with_its_defaults_and_what_was_written(made: Path) -> None:
    said = json.loads(made.read_text())
    assert said["prompt"]["1"]["_meta"] == {"title": "Picture"}
    assert [Path(o["path"]).name for o in said["outputs"]] == ["it_00001_.png"]
    assert said["latentgraph"]["versions"].keys() >= {"latentgraph", "torch", "diffusers", "numpy", "pillow"}


def test_each_picture_of_a_batch_is_found_among_those_made_again(cli: Cli, here: Path) -> None:
    for color, name in ((255, "blue"), (0, "black")):
        PIL.Image.new("RGB", (4, 4), (0, 0, color)).save(here / f"{name}.png")
    (here / "input").mkdir()
    frames = [PIL.Image.open(here / f"{name}.png") for name in ("blue", "black")]
    frames[0].save(here / "input" / "in.png", save_all=True, append_images=frames[1:])
    (here / "with_input.json").write_text(json.dumps(WITH_INPUT))
    assert cli("run", "with_input.json").exit_code == 0
    for number in (1, 2):
        assert cli("replay", f"output/made/it_0000{number}_.png").exit_code == 0

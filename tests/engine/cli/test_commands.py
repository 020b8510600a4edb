"""The commands as people and programs meet them: what they print, what they write, how they exit."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from conftest import PICTURE, Cli  # type: ignore[import-not-found]

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()"]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def outside(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as people start it."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=here)


def finished(text: str) -> dict[str, Any]:
    last = lines(text)[-1]
    assert last["event"] == "finished"
    return last


def test_help_imports_no_torch() -> None:
    heavy = "{'torch', 'diffusers', 'PIL', 'transformers'}"
    code = f"import sys; import engine.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_run_writes_and_a_second_does_nothing(cli: Cli, here: Path) -> None:
    first = finished(cli("run", "picture.json", "--json").stdout)
    assert first["status"] == "success"
    assert first["executed"] == ["1", "2", "3"]
    assert Path(first["outputs"][0]["path"]).resolve() == here / "output/made/it_00001_.png"
    again = finished(cli("run", "picture.json", "--json").stdout)
    assert again["executed"] == []
    assert again["cached"] == ["3"]
    assert again["outputs"] == first["outputs"]


def test_a_picture_that_was_removed_is_made_again(cli: Cli, here: Path) -> None:
    cli("run", "picture.json")
    (here / "output/made/it_00001_.png").unlink()
    again = finished(cli("run", "picture.json", "--json").stdout)
    assert "3" in again["executed"]
    assert (here / "output/made/it_00001_.png").is_file()


def test_another_output_folder_gets_its_own_picture(cli: Cli, here: Path) -> None:
    cli("run", "picture.json")
    cli("run", "picture.json", "--output", "elsewhere")
    assert (here / "elsewhere/made/it_00001_.png").is_file()
    assert (here / "output/made/it_00001_.png").is_file()


def test_a_picture_carries_the_workflow_that_made_it(cli: Cli, here: Path) -> None:
    cli("run", "picture.json", "--set", "Picture.color=1024")
    made = "output/made/it_00001_.png"
    converted = json.loads(cli("convert", made).stdout)
    assert converted["1"]["inputs"]["color"] == 1024
    assert finished(cli("run", made, "--json").stdout)["executed"] == []


DRAWN: dict[str, Any] = {
    "nodes": [
        {"id": 1, "type": "EmptyImage", "title": "Picture", "widgets_values": [16, 8, 1, 255],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]},
        {"id": 2, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}],
         "outputs": [{"name": "", "type": "IMAGE", "links": [2]}]},
        {"id": 3, "type": "SaveImage", "widgets_values": ["%Picture.width%/it"],
         "inputs": [{"name": "images", "type": "IMAGE", "link": 2}]},
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    "version": 0.4,
}  # fmt: skip


def test_what_the_editor_saved_is_run_validated_and_converted(cli: Cli, here: Path) -> None:
    (here / "drawn.json").write_text(json.dumps(DRAWN))
    assert cli("convert", "drawn.json", "-o", "api.json").exit_code == 0
    api = json.loads((here / "api.json").read_text())
    assert api["3"]["inputs"] == {"filename_prefix": "16/it", "images": ["1", 0]}
    assert api["1"]["_meta"] == {"title": "Picture"}
    verdict = json.loads(cli("validate", "drawn.json", "--json").stdout)
    assert (verdict["format"], verdict["loaded"], verdict["valid"]) == ("ui", True, True)
    assert cli("run", "drawn.json", "--set", "Picture.color=1024").exit_code == 0
    made = here / "output/16/it_00001_.png"
    with PIL.Image.open(made) as picture:
        assert picture.getpixel((0, 0)) == (0, 4, 0)
        assert json.loads(picture.info["workflow"]) == DRAWN, "the editor opens the picture as before"
    assert finished(cli("run", str(made), "--json").stdout)["executed"] == []


def test_a_run_fills_in_what_a_class_got_since_and_a_conversion_says_so(cli: Cli, here: Path) -> None:
    first = DRAWN["nodes"][0] | {"widgets_values": [16, 8]}
    (here / "old.json").write_text(json.dumps(DRAWN | {"nodes": [first, *DRAWN["nodes"][1:]]}))
    shown = cli("convert", "old.json")
    assert json.loads(shown.stdout)["1"]["inputs"] == {"width": 16, "height": 8}
    assert "node 1 (EmptyImage): the file has no batch_size; `run` takes 1" in shown.stderr
    assert cli("run", "old.json").exit_code == 0
    made = json.loads(cli("convert", "output/16/it_00001_.png").stdout)
    assert made["1"]["inputs"] == {"width": 16, "height": 8, "batch_size": 1, "color": 0}


def test_a_conversion_says_which_values_are_left_out(cli: Cli, here: Path) -> None:
    odd = {"id": 7, "type": "Odd", "widgets_values": [1, 2]}
    (here / "odd.json").write_text(json.dumps(DRAWN | {"nodes": [*DRAWN["nodes"], odd]}))
    shown = cli("convert", "odd.json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["7"] == {"class_type": "Odd", "inputs": {}}
    assert "node 7 (Odd) is of a class that is not installed" in shown.stderr


def test_settings_are_found_by_title_class_and_id(cli: Cli, here: Path) -> None:
    (here / "prefix.txt").write_text("from_file\n")
    for n, name in enumerate(("Save", "SaveImage", "3")):
        assert cli("run", "picture.json", "--set", f"{name}.filename_prefix=p{n}").exit_code == 0
        assert (here / f"output/p{n}_00001_.png").is_file()
    assert cli("run", "picture.json", "--set", "Save.filename_prefix=@prefix.txt").exit_code == 0
    assert (here / "output/from_file_00001_.png").is_file()


def test_all_problems_are_said_at_once_and_nothing_is_written(cli: Cli, here: Path) -> None:
    wrong = ("Pictur.color=1", "Picture.width=0", "Save.prefix=x")
    shown = cli("run", "picture.json", "--json", *(word for w in wrong for word in ("--set", w)))
    assert shown.exit_code == 2
    problems = [line for line in lines(shown.stdout) if line["event"] == "problem"]
    assert {p["code"] for p in problems} == {"bad_setting", "value_smaller_than_min"}
    assert len(problems) == 3
    assert all(p["hint"] for p in problems)
    assert finished(shown.stdout)["status"] == "error"
    assert not (here / "output").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no valid JSON"),
        ("[]", "a workflow is a JSON object"),
        ("{}", "no nodes"),
        ('{"1": {"inputs": {}}}', "no class_type"),
        ('{"1": {"class_type": "SaveImagee", "inputs": {}}}', "SaveImage"),
        ('{"nodes": [], "links": []}', "no nodes that run"),
        ('{"nodes": [5], "links": [6]}', "entry 0 of links"),
        ("\x00\x01", "no valid JSON"),
    ],
)
def test_a_bad_file_is_exit_code_2_and_says_why(here: Path, text: str, said: str) -> None:
    (here / "bad.json").write_text(text)
    shown = outside(here, "run", "bad.json")
    assert shown.returncode == 2
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_validate_has_a_line_per_file(cli: Cli, here: Path) -> None:
    broken = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "absent.png"}},
        "2": {"class_type": "Nope", "inputs": {}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (here / "broken.json").write_text(json.dumps(broken))
    shown = cli("validate", "picture.json", "broken.json", "nowhere.json", "--json")
    good, bad, absent = lines(shown.stdout)
    assert shown.exit_code == 2
    assert good["valid"]
    assert good["format"] == "api"
    assert bad["loaded"]
    assert not bad["valid"]
    assert bad["missing_classes"] == ["Nope"]
    assert bad["missing_files"] == ["input/absent.png"]
    assert not absent["loaded"]


def test_dry_run_explains_and_writes_nothing(cli: Cli, here: Path) -> None:
    cli("run", "picture.json")
    shown = cli(
        "run", "picture.json", "--dry-run", "--explain", "--json", "--set", "Save.filename_prefix=new"
    )
    rows = {line["node_id"]: line for line in lines(shown.stdout)}
    assert rows["3"]["action"] == "run"
    assert "filename_prefix was" in rows["3"]["why"]
    assert not (here / "output/new_00001_.png").exists()


def test_nodes_lists_and_shows(cli: Cli) -> None:
    listed = lines(cli("nodes", "--json").stdout)
    assert {"KSampler", "SaveImage"} <= {n["name"] for n in listed}
    (shown,) = lines(cli("nodes", "KSampler", "--json").stdout)
    assert [p["name"] for p in shown["inputs"]][:3] == ["model", "seed", "steps"]


def test_cache_counts_verifies_and_clears(cli: Cli, here: Path) -> None:
    cli("run", "picture.json")
    assert lines(cli("cache", "stats", "--json").stdout)[0]["results"] >= 1
    blob = next(p for p in (here / "cache/blobs").glob("*/*") if p.is_file())
    blob.write_bytes(b"\0" + blob.read_bytes()[1:])
    assert lines(cli("cache", "verify", "--json").stdout)[0]["damaged"] == 1
    assert lines(cli("cache", "clear", "--json").stdout)[0]["results"] == 0


@pytest.mark.parametrize("cache", ["cache", "off"])
def test_cache_says_what_a_shared_store_holds(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("LATENTGRAPH_CACHE", cache)
    monkeypatch.setenv("LATENTGRAPH_STORE", "shared")
    assert finished(cli("run", "picture.json", "--json").stdout)["executed"] == ["1", "2", "3"]
    (said,) = lines(cli("cache", "stats", "--json").stdout)
    assert (said["store"], said["store_results"]) == ("shared", 1)  # the other two took no time
    assert ("folder" in said) == (cache == "cache")
    assert "shared: 1 results" in cli("cache", "stats").stderr


def test_an_unknown_setting_in_the_file_is_refused(here: Path) -> None:
    (here / "latentgraph.toml").write_text('colour = "red"\ncache_gb = -1\n')
    shown = outside(here, "run", "picture.json")
    assert shown.returncode == 2
    assert "colour" in shown.stderr
    assert "cache_gb" in shown.stderr


def test_an_interrupted_run_exits_130_and_keeps_what_was_done(here: Path) -> None:
    graph = json.loads(json.dumps(PICTURE))
    graph["5"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "storybook"}}
    graph["6"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["5", 1], "text": "a lake"}}
    graph["7"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    graph["8"] = {
        "class_type": "KSampler",
        "inputs": {
            **{"model": ["5", 0], "positive": ["6", 0], "negative": ["6", 0], "latent_image": ["7", 0]},
            **{
                "seed": 1,
                "steps": 10000,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        },
    }
    graph["9"] = {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["5", 2]}}
    graph["10"] = {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "late"}}
    (here / "long.json").write_text(json.dumps(graph))
    command = [*COMMAND, "run", "long.json", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line)["event"] == "node_progress":
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert json.loads(rest.splitlines()[-1])["status"] == "cancelled"
    assert not list(here.glob("output/late*"))
    assert not list(here.rglob(".draft-*"))

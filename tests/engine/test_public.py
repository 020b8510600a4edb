"""The Python API: sessions, graphs built in code, results; with toy nodes and with the embedded model."""

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from toys import REGISTRY, Log, Meeting

import latentgraph as lg
from engine import events
from engine.registry import Pack, Registry

TINY = {"Sampler.steps": 2, "Size.width": 64, "Size.height": 64}


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def toys(log: Log) -> Registry:
    """Toy nodes, and what they are given."""
    return Registry(REGISTRY.nodes, (Pack("toys", (), provides=lambda: (log, Meeting())),))


@pytest.fixture
def session(toys: Registry, tmp_path: Path) -> Iterator[lg.Session]:
    """A session with toy nodes."""
    with lg.Session(registry=toys, base_directory=tmp_path, cache="off") as opened:
        yield opened


@pytest.fixture
def g(toys: Registry) -> lg.Graph:
    """An empty graph of toy nodes."""
    return lg.Graph(toys)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lg.Session]:
    """A session with the real nodes and the embedded model."""
    folder = tmp_path_factory.mktemp("studio")
    torch.set_num_threads(1)
    with lg.Session(base_directory=folder, cache=folder / "cache", device="cpu") as opened:
        yield opened


# ---------------------------------------------------------------- pictures


def test_a_workflow_by_name_gives_its_picture_its_file_and_its_latent(studio: lg.Session) -> None:
    result = studio.run("text_to_image", {"Prompt.text": "a red house", "Sampler.seed": 7, **TINY})
    assert (result.status, result.image.size, len(result.images)) == ("success", (64, 64), 1)
    (file,) = result.files
    with PIL.Image.open(file) as saved:
        assert saved.tobytes() == result.image.tobytes() == result["Decode"].image.tobytes()
    (latent,) = result.latents
    assert latent.shape == (1, 4, 8, 8)
    assert torch.equal(latent, result["KSampler"].latent)
    latent.add_(1)
    assert not torch.equal(latent, result["5"].latent), "a copy: the cache's own is not touched"


def test_a_graph_built_in_code_is_the_workflow_of_the_file(studio: lg.Session) -> None:
    values = {"Sampler.seed": 3, **TINY}
    studio.run("text_to_image", values)
    g = lg.Graph()
    model, clip, vae = g.CheckpointLoaderSimple(ckpt_name="storybook")
    latent = g.KSampler(
        model=model,
        positive=g.CLIPTextEncode(text=lg.load("text_to_image").settings["Prompt.text"], clip=clip),
        negative=g.CLIPTextEncode(text="", clip=clip),
        latent_image=g.EmptyLatentImage(width=64, height=64),
        seed=3,
        steps=2,
        cfg=4.5,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        _title="Sampler",
    )
    result = studio.run(g.VAEDecode(samples=latent, vae=vae))
    assert result.executed == (), "every key is known, defaults included"
    assert result.image.size == (64, 64)
    assert result.files == ()
    assert torch.equal(result.latents[0], result[latent].latent)


def test_many_runs_share_what_they_have_in_common(studio: lg.Session) -> None:
    seeds = [{"Sampler.seed": seed, "Prompt.text": "a castle", **TINY} for seed in range(20, 23)]
    results = list(studio.map("text_to_image", seeds))
    assert [r.inputs["Sampler.seed"] for r in results] == [20, 21, 22]
    assert len({r.image.tobytes() for r in results}) == 3
    assert sum("2" in r.executed for r in results) == 1, "the prompt is encoded once"


def test_an_input_may_be_a_picture_or_a_path(studio: lg.Session, tmp_path: Path) -> None:
    picture = PIL.Image.new("RGB", (16, 24), (255, 0, 255))
    picture.save(tmp_path / "own.png")
    g = lg.Graph()
    image, _ = g.LoadImage(image=picture)
    assert studio.run(image).image.tobytes() == picture.tobytes()
    other, _ = g.LoadImage(image=tmp_path / "own.png")
    inverted = studio.run(g.ImageInvert(image=other)).image
    assert inverted.getpixel((0, 0)) == (0, 255, 0)
    both = studio.run([image, other])
    assert [p.size for p in both.images] == [(16, 24), (16, 24)]


def test_a_picture_is_a_workflow_too(studio: lg.Session, tmp_path: Path) -> None:
    (file,) = studio.run("text_to_image", {"Prompt.text": "a boat", **TINY}).files
    loaded = lg.load(file)
    assert loaded.settings["Prompt.text"] == "a boat"
    loaded.set({"Prompt.text": "a tree", "Sampler.seed": 5}).save(tmp_path / "tree.json")
    assert lg.load(tmp_path / "tree.json").to_json() == loaded.to_json()
    assert json.loads((tmp_path / "tree.json").read_text())["2"]["inputs"]["text"] == "a tree"


def test_a_notebook_shows_results_pictures_and_graphs(studio: lg.Session, tmp_path: Path) -> None:
    result = studio.run("text_to_image", TINY)
    for shown in (result._repr_html_(), result.images._repr_html_(), result["Decode"]._repr_html_()):
        assert shown is not None
        assert shown.count('<img title="64×64"') == 1
    graph = lg.load("text_to_image")
    assert graph.draw(tmp_path / "graph.svg") == (tmp_path / "graph.svg").read_text()
    assert 'width="760"' in graph._repr_svg_()[:200]
    assert all(title in graph.draw() for title in ("Prompt", "Sampler", "Save"))
    wide = lg.Images([PIL.Image.new("CMYK", (1000, 10))] * 70)._repr_html_()
    assert (wide.count("<img"), "and 6 more" in wide) == (64, True)


# ---------------------------------------------------------------- graphs


def test_outputs_are_links_unpacked_or_by_name(g: lg.Graph, session: lg.Session) -> None:
    low, high = pair = g.Pair(a=g.Value(value=5))
    assert (pair.low, pair.high) == (low, high)
    assert "high" in dir(pair)
    assert session.run(high).value == 6
    assert session.run(g.Add(a=low, b=high)).value == 10
    assert session.run(pair).images == []
    with pytest.raises(AttributeError, match="no output 'hihg'; did you mean 'high'"):
        pair.hihg  # noqa: B018
    with pytest.raises(TypeError, match=r"Add.a takes one output, found 2"):
        g.Add(a=pair)
    with pytest.raises(TypeError, match="another graph"):
        lg.Graph(g.registry).Add(a=low)


def test_wrong_names_are_said_when_called(g: lg.Graph) -> None:
    with pytest.raises(AttributeError, match="no node class is called 'Vlaue'; did you mean 'Value'"):
        g.Vlaue()
    with pytest.raises(TypeError, match="Add has no input 'plsu'; did you mean 'plus'"):
        g.Add(plsu=1)
    with pytest.raises(TypeError, match=r"takes its inputs by name: Value\(value=...\)"):
        g.Value(3)
    with pytest.raises(TypeError, match="no node class is called 'Vlaue'"):
        g.add("Vlaue")
    with pytest.raises(TypeError, match="found object"):
        g.Add(plus=object())
    assert g.to_json() == {}, "nothing was added"


def test_a_call_fills_in_defaults_and_takes_numbers_of_any_library(g: lg.Graph) -> None:
    g.add("Widgets", _title="All", n=np.int64(4), x=1)
    assert g.settings == {
        "All.n": 4, "All.x": 1, "All.text": "", "All.flag": False, "All.choice": "red", "All.left": 3
    }  # fmt: skip
    assert type(g.settings["All.n"]) is int


def test_help_and_completion_know_the_nodes(g: lg.Graph) -> None:
    assert {"Value", "Pair", "set", "draw"} <= set(dir(g))
    described = inspect.signature(g.Widgets)
    assert str(described).startswith("(*, n: INT, x: FLOAT = 0.5, text: STRING = '', flag: BOOLEAN = False")
    assert g.Widgets.__doc__ is not None
    assert "All widgets." in g.Widgets.__doc__
    assert "n (INT, 0 to 10)" in g.Widgets.__doc__
    assert "choice (COMBO, one of red, green)" in g.Widgets.__doc__


def test_everything_wrong_is_said_at_once_when_run(g: lg.Graph, session: lg.Session, log: Log) -> None:
    g.Show(value=g.Widgets(n=99, _title="Numbers"))
    with pytest.raises(lg.WorkflowError) as raised:
        session.run(g, {"Numbers.choice": "blue", "Numbers.txt": 1, "Nobody.n": 1})
    assert [(p.class_type, p.input) for p in raised.value.problems] == [
        ("Widgets", "txt"), ("", ""), ("Widgets", "n"), ("Widgets", "choice")
    ]  # fmt: skip
    assert log.ran == []
    with pytest.raises(lg.WorkflowError, match="no node is called 'Nobody'"):
        session.run(g, targets=["Nobody"])
    with pytest.raises(TypeError, match="cannot run 3"):
        session.run(3)  # type: ignore[arg-type]


def test_setting_a_graph_for_one_run_leaves_it_as_it_is(g: lg.Graph, session: lg.Session) -> None:
    total = g.Add(a=g.Value(value=1), plus=1)
    assert session.run(total, {"Add.plus": 5}).value == 6
    assert session.run(total).value == 2
    assert session.run(total, {"Add.a": g.Value(value=10)}).value == 11
    g.set({"Add.plus": 7})
    assert session.run(total).value == 8


def test_a_file_may_be_named_by_its_path(g: lg.Graph, session: lg.Session, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "five.txt").write_text("5")
    assert session.run(g.Read(name=elsewhere / "five.txt")).value == 5
    (elsewhere / "five.txt").write_text("6")
    assert session.run(g["Read"]).value == 6


# ---------------------------------------------------------------- runs


def test_any_node_is_a_target_and_results_are_by_name(g: lg.Graph, session: lg.Session, log: Log) -> None:
    doubled = g.AddInSteps(a=g.Value(value=4), plus=1, _title="Doubled")
    g.Show(value=doubled)
    result = session.run(g)
    assert (result["Doubled"].value, result["Value"].value, result[doubled].outputs) == (5, 4, ([5],))
    assert session.run(g, targets=["Doubled"]).value == 5
    with pytest.raises(KeyError, match="no node is called 'Double'; did you mean 'Doubled'"):
        result["Double"]
    with pytest.raises(LookupError, match="no picture"):
        _ = result.image
    assert result.latents == []
    assert log.ran.count(("Value", 4)) == 1, "results come from the cache"


def test_a_result_that_was_not_kept_is_made_again(toys: Registry, tmp_path: Path, log: Log) -> None:
    with lg.Session(registry=toys, base_directory=tmp_path, cache="off", memory_gb=0) as session:
        g = lg.Graph(toys)
        g.Show(value=g.Add(a=g.Value(value=2), b=g.Volatile(), _title="Sum"))
        result = session.run(g)
        ran = len(log.ran)
        assert result["Value"].value == 2
        assert log.ran[ran:] == [("Value", 2)]
        with pytest.raises(LookupError, match="something else each time; name it in targets="):
            result["Sum"]


def test_a_failed_node_is_raised_with_what_there_is(g: lg.Graph, session: lg.Session) -> None:
    g.Show(value=g.Value(value=3))
    g.Show(value=g.FailOn(a=g.Value(value=1), _title="Picky"))
    with pytest.raises(
        lg.NodeFailed, match=r'\(FailOn\) "Picky" failed: this value is bad; take another'
    ) as raised:
        session.run(g)
    assert raised.value.failures[0].class_type == "FailOn"
    assert raised.value.result is not None
    assert (raised.value.result.status, raised.value.result["1"].value) == ("error", 3)
    assert session.run(g, {"3.value": 4}).error is None


def test_many_come_in_order_and_errors_do_not_stop_them(g: lg.Graph, session: lg.Session) -> None:
    picky = g.FailOn(a=g.Value())
    results = list(session.map(picky, [{"Value.value": v} for v in (3, 1, 2)], at_once=2))
    assert [r.inputs["Value.value"] for r in results] == [3, 1, 2]
    assert [r.error is None and r.value for r in results] == [3, False, 2]
    assert isinstance(results[1].error, lg.NodeFailed)
    assert list(session.map(picky, [])) == []


@pytest.mark.parametrize("kind", ["Add", "AddInSteps", "AddAsync", "AddOnDevice"])
def test_what_many_have_in_common_runs_once(g: lg.Graph, session: lg.Session, log: Log, kind: str) -> None:
    shared = g.add(kind, a=g.Value(value=4), plus=3)
    end = g.add(kind, a=shared, _title="End")
    results = list(session.map(end, [{"End.plus": 10 + i} for i in range(40)]))
    assert [r.value for r in results] == [17 + i for i in range(40)]
    assert len(log.ran) == len(set(log.ran)) == 42


def test_many_are_checked_before_any_runs(g: lg.Graph, session: lg.Session, log: Log) -> None:
    number = g.Value()
    with pytest.raises(lg.WorkflowError) as raised:
        session.map(number, [{"Value.value": 1}, {"Value.value": 5000}, {"Value.vlaue": 1}])
    assert [p.message[:6] for p in raised.value.problems] == ["job 2:", "job 3:"]
    assert log.ran == []


def test_many_are_run_as_they_are_asked_for(g: lg.Graph, session: lg.Session, log: Log) -> None:
    results = session.map(g.Value(), [{"Value.value": v} for v in range(50)], at_once=2)
    assert log.ran == []
    assert next(results).value == 0
    assert len(log.ran) <= 2
    results.close()  # type: ignore[attr-defined]
    assert session.run(g.Value(value=77)).value == 77


def test_events_are_told_on_the_callers_thread(g: lg.Graph, session: lg.Session) -> None:
    told: list[Any] = []
    session.run(g.AddInSteps(plus=2), on_event=lambda e: told.append((type(e), threading.get_ident())))
    kinds = [kind for kind, _ in told]
    assert (kinds[0], kinds[-1]) == (events.RunStarted, events.RunFinished)
    assert events.NodeProgress in kinds
    assert {thread for _, thread in told} == {threading.get_ident()}


def test_an_interrupt_stops_at_the_next_step_and_the_session_goes_on(
    g: lg.Graph, session: lg.Session, log: Log
) -> None:
    log.stop = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        session.run(g.Endless())
    assert log.ran == ["closed"]
    assert session.run(g.Value(value=8)).value == 8


def test_an_interrupt_stops_all_of_many(g: lg.Graph, session: lg.Session, log: Log) -> None:
    interrupts = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])
    log.stop = lambda: next(interrupts, lambda: None)()
    endless = g.Add(a=g.Endless(), plus=1)
    with pytest.raises(KeyboardInterrupt):
        list(session.map(endless, [{"Add.plus": 1}, {"Add.plus": 2}]))
    assert set(log.ran) == {"closed"}
    assert session.run(g.Value(value=8)).value == 8


def test_threads_run_at_once(g: lg.Graph, session: lg.Session) -> None:
    nodes = [g.Meet(who=who) for who in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        assert [r.value for r in pool.map(session.run, nodes, timeout=60)] == [1, 2]


async def test_it_works_inside_a_running_loop(g: lg.Graph, session: lg.Session) -> None:
    assert session.run(g.Value(value=9)).value == 9


async def test_asyncio_programs_await_runs(g: lg.Graph, session: lg.Session, log: Log) -> None:
    told: list[events.Event] = []
    runs = [session.arun(g.Meet(who=who), on_event=told.append) for who in (1, 2)]
    assert [r.value for r in await asyncio.wait_for(asyncio.gather(*runs), 60)] == [1, 2]
    assert sum(isinstance(e, events.RunFinished) for e in told) == 2
    with pytest.raises(lg.NodeFailed):
        await session.arun(g.Fail(a=g.Value()))
    loop, third = asyncio.get_running_loop(), asyncio.Event()
    log.stop = lambda: loop.call_soon_threadsafe(third.set)
    task = asyncio.create_task(session.arun(g.Endless()))
    await asyncio.wait_for(third.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(session.close)
    assert log.ran[-1] == "closed"


def test_closing_stops_what_runs(g: lg.Graph, session: lg.Session, log: Log) -> None:
    begun = threading.Event()
    log.stop = begun.set
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(session.run, g.Endless())
        assert begun.wait(60)
        session.close()
        with pytest.raises(CancelledError):
            run.result(60)
    session.close()
    with pytest.raises(RuntimeError, match="the session is closed"):
        session.run(g.Value())


def test_a_session_that_nobody_closed_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    script = (
        "import threading, latentgraph as lg\n"
        "session = lg.Session(cache='off')\n"
        "g = lg.Graph()\n"
        "print(session.run(g.EmptyImage(width=8, height=8)).image.size)\n"
        "begun = threading.Event()\n"
        "run = lambda: session.run('text_to_image', {'5.steps': 10000}, on_event=lambda e: begun.set())\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "begun.wait(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(8, 8)\n", "")


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(lg.WorkflowError, match="devise"):
        lg.Session(base_directory=tmp_path, devise="cpu")

"""Contact sheets: the layout, the pages of thumbnails, and the page in a real browser."""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Browser, Page, expect

from engine.batch import Axis, Batch, BatchJob
from engine.workflow import from_json
from server.batch import sheet_drawing
from server.batch.contact_sheet import write_contact_sheet
from server.batch.sheet_layout import laid_out
from server.batch.sheet_pictures import GROUND, Pictures
from tests.server.browsing import Seen, needs_chromium, window

EVIL = (
    "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>\"'&\nsecond {{data}} line"
)
WORKFLOW = from_json(
    {
        "1": {"class_type": "Text", "inputs": {"text": "a"}, "_meta": {"title": "Prompt"}},
        "2": {
            "class_type": "Sampler",
            "inputs": {"seed": 7, "noise_seed": 11, "cfg": 1.0, "steps": 20, "on": ["1", 0]},
        },
    }
)
RED = (200, 30, 30)
Line = dict[str, Any]


def batch_of(jobs: Sequence[Mapping[str, Any]], groups: Mapping[str, int]) -> Batch:
    """A batch with these inputs, each of the group named."""
    axes = [Axis(n, tuple(j[n] for j in jobs if n in j), g) for n, g in groups.items()]
    made = (BatchJob(n, dict(j), WORKFLOW.with_inputs(j), (f"{n:03}",)) for n, j in enumerate(jobs, 1))
    return Batch(WORKFLOW, tuple(axes), tuple(made), "d" * 64)


def swept(**values: Sequence[Any]) -> Batch:
    """Every combination; `Prompt_text` stands for "Prompt.text"."""
    names = [name.replace("_", ".", 1) for name in values]
    jobs = [dict(zip(names, combination, strict=True)) for combination in product(*values.values())]
    return batch_of(jobs, {name: number for number, name in enumerate(names)})


def line(number: int, *paths: str, status: str = "success", **more: Any) -> Line:
    outputs = [{"node": "9", "path": path, "sha256": "0" * 64} for path in paths]
    return {"job": number, "status": status, "outputs": outputs, "keys": {"2": f"{number:064x}"}, **more}


def painted(folder: Path, batch: Batch, size: tuple[int, int] = (16, 16)) -> list[Line]:
    """A picture for each job, and its line."""
    lines = []
    for job in batch.jobs:
        path = f"{job.number:03}_00001_.png"
        PIL.Image.new("RGB", size, (job.number % 256, 90, 120)).save(folder / path)
        lines.append(line(job.number, path))
    return lines


def sheet_in(folder: Path) -> PIL.Image.Image:
    with PIL.Image.open(folder / "contact_sheet.png") as picture:
        return picture.convert("RGB")


def page_in(folder: Path) -> str:
    return (folder / "contact_sheet.html").read_text(encoding="utf-8")


# ------------------------------------------------------------ layout


def test_one_axis_is_a_run_of_cells() -> None:
    (section,) = laid_out(swept(Sampler_seed=[5, 6, 7]), []).sections
    assert (section.rows, section.columns) == ((), ())
    assert [cell.varied for cell in section.cells] == [(("Sampler.seed", str(n)),) for n in (5, 6, 7)]


def test_two_axes_are_rows_and_columns() -> None:
    (section,) = laid_out(swept(Prompt_text=["x", "y"], Sampler_seed=[1, 2, 3]), []).sections
    assert section.rows == ((("Prompt.text", "x"),), (("Prompt.text", "y"),))
    assert section.columns == tuple((("Sampler.seed", n),) for n in "123")
    assert [cell.number for cell in section.cells] == [1, 2, 3, 4, 5, 6]


def test_outer_axes_make_sections() -> None:
    batch = swept(Prompt_text=["x", "y"], Sampler_steps=[1, 2], Sampler_seed=[1, 2], Sampler_cfg=[1.0, 2.0])
    sheet = laid_out(batch, [])
    assert [section.labels for section in sheet.sections] == [
        (("Prompt.text", x), ("Sampler.steps", n)) for x in "xy" for n in "12"
    ]
    assert [c.number for c in sheet.sections[1].cells] == [5, 6, 7, 8]


def test_zipped_axes_are_one() -> None:
    jobs = [
        {"Prompt.text": x, "Sampler.seed": n, "Sampler.cfg": c}
        for (x, n), c in product((("x", 1), ("x", 2), ("y", 1)), (1.0, 2.0))
    ]
    sheet = laid_out(batch_of(jobs, {"Prompt.text": 0, "Sampler.seed": 0, "Sampler.cfg": 1}), [])
    assert sheet.axes == ((("Prompt.text", "Sampler.seed"), 3), (("Sampler.cfg",), 2))
    assert sheet.sections[0].rows[1] == (("Prompt.text", "x"), ("Sampler.seed", "2"))


def test_what_does_not_vary_stands_in_the_heading() -> None:
    sheet = laid_out(swept(Sampler_cfg=[3.5], Prompt_text=["x", "y"], Sampler_seed=[1, 2]), [])
    assert sheet.constants == (("Sampler.cfg", "3.5"),)
    assert len(sheet.sections) == 1
    assert sheet.summary == "4 jobs: 2 Prompt.text × 2 Sampler.seed, 4 not run"


def test_rows_that_fill_no_grid_are_all_shown() -> None:
    jobs = [
        {"Prompt.text": "x"},
        {"Prompt.text": "x", "Sampler.seed": 1},
        {"Prompt.text": "y"},
        {"Prompt.text": "y"},
    ]
    sheet = laid_out(batch_of(jobs, {"Prompt.text": 0, "Sampler.seed": 1}), [])
    assert [cell.number for cell in sheet.cells] == [1, 2, 3, 4]


def test_values_of_other_types_are_other_columns() -> None:
    (section,) = laid_out(
        swept(Prompt_text=["x", "y"], Sampler_cfg=["1", 1, True, None, {"a": [1]}]), []
    ).sections
    assert [label[0][1] for label in section.columns] == ["1", "1", "true", "null", '{"a": [1]}']


def test_a_batch_of_one_job_has_a_sheet(tmp_path: Path) -> None:
    batch = batch_of([{}], {})
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch))
    assert "1 job<" in page_in(tmp_path)


# ------------------------------------------------------------ the picture


def test_the_same_pictures_make_the_same_bytes_whatever_was_measured(tmp_path: Path) -> None:
    batch, found = swept(Prompt_text=[EVIL, "y"], Sampler_seed=[1, 2]), []
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        folder = tmp_path / name
        folder.mkdir()
        lines = [
            x | {"seconds": seconds, "finished": f"{seconds}", "attempts": 1} for x in painted(folder, batch)
        ]
        write_contact_sheet(folder, batch, lines)
        found.append([(folder / f"contact_sheet.{kind}").read_bytes() for kind in ("html", "png")])
        assert str(tmp_path) not in page_in(folder)
    assert found[0] == found[1]


def test_thumbnails_lie_where_their_values_say(tmp_path: Path) -> None:
    batch = swept(Prompt_text=["x", "y"], Sampler_seed=[1, 2, 3])
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch, (96, 96)))
    pixels = np.asarray(sheet_in(tmp_path)).astype(int)
    places = [np.argwhere((pixels == (n, 90, 120)).all(-1)) for n in range(1, 7)]
    assert all(len(p) == 96 * 96 for p in places)
    tops, lefts = ([int(p[:, axis].min()) for p in places] for axis in (0, 1))
    assert (tops[:3], lefts[:3]) == ([tops[0]] * 3, lefts[3:])
    assert lefts[0] < lefts[1] < lefts[2]
    assert tops[0] < tops[3] == tops[5]


def test_large_pictures_become_thumbnails(tmp_path: Path) -> None:
    batch = swept(Sampler_seed=[1])
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch, (1000, 500)))
    assert (np.asarray(sheet_in(tmp_path)) == (1, 90, 120)).all(-1).sum() == 256 * 128


def test_many_jobs_take_several_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_drawing, "CELLS", 6)
    batch = swept(Prompt_text=["x", "y", "z"], Sampler_seed=[1, 2], Sampler_cfg=[1.0, 2.0])
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch, (96, 96)))
    assert sorted(p.name for p in tmp_path.glob("contact_sheet*.png")) == [
        "contact_sheet.png", "contact_sheet_2.png", "contact_sheet_3.png",
    ]  # fmt: skip


def test_a_page_stays_within_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_drawing, "MOST_PIXELS", 600_000)
    monkeypatch.setattr(sheet_drawing, "LONGEST_SIDE", 1_000)
    batch = swept(Prompt_text=["x", "y", "z"], Sampler_seed=list(range(8)))
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch, (300, 300)))
    width, height = sheet_in(tmp_path).size
    assert max(width, height) <= 1_000
    assert width * height <= 600_000


def test_a_wide_grid_continues_below(tmp_path: Path) -> None:
    batch = swept(Prompt_text=["x", "y"], Sampler_seed=list(range(45)))
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch))
    assert sheet_in(tmp_path).width < 3_000


def test_texts_of_any_language_can_be_drawn(tmp_path: Path) -> None:
    texts = ["дом на холме", "家" * 500, "🏠\u202eevil\x00\ud800\ttab", "word " * 900, "", EVIL]
    batch = swept(Prompt_text=texts, Sampler_seed=[1, 2])
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch))
    assert "дом на холме" in page_in(tmp_path)


KINDS = ["RGBA", "LA", "P", "1", "I;16", "16-bit TIFF", "float TIFF", "CMYK", "GIF", "RGB with a key"]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind_have_thumbnails(tmp_path: Path, kind: str) -> None:
    wide = np.full((40, 40), 0x8000, np.uint16)
    solid = PIL.Image.new("RGB", (40, 40), RED)
    path, expected = tmp_path / "a.png", RED
    match kind:
        case "RGBA" | "LA":
            PIL.Image.new(kind, (40, 40), 0).save(path)
            expected = GROUND
        case "P":
            solid.quantize(4).save(path)
        case "1":
            PIL.Image.new("1", (40, 40), 1).save(path)
            expected = (255, 255, 255)
        case "I;16":
            PIL.Image.fromarray(wide).save(path)
            expected = (128, 128, 128)
        case "16-bit TIFF" | "float TIFF":
            path = tmp_path / "a.tiff"
            PIL.Image.fromarray(wide if "16" in kind else np.full((40, 40), 0.5, np.float32)).save(path)
            expected = (128, 128, 128)
        case "CMYK":
            path = tmp_path / "a.jpg"
            PIL.Image.new("CMYK", (40, 40), (0, 0, 0, 255)).save(path)
            expected = (0, 0, 0)
        case "GIF":
            path = tmp_path / "a.gif"
            solid.save(path, save_all=True, append_images=[PIL.Image.new("RGB", (40, 40))])
        case _:
            solid.save(path, transparency=RED)
            expected = GROUND
    small = Pictures(tmp_path).thumbnail(path.name, 20)
    assert small is not None
    assert (small.mode, small.size) == ("RGB", (20, 20))
    assert np.abs(np.asarray(small).astype(int) - expected).max() <= 2


def test_damaged_and_missing_files_and_claims_of_size_have_tiles_that_say_so(tmp_path: Path) -> None:
    PIL.Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.webp").touch()
    (tmp_path / "bomb.png").write_bytes(whole[:16] + bytes.fromhex("000fffff000fffff") + whole[24:])
    names = ["cut.png", "text.png", "empty.webp", "bomb.png"]
    lines = [*(line(n, name) for n, name in enumerate(names, 1)), line(5, "gone.png"), line(6, "whole.png")]
    write_contact_sheet(tmp_path, swept(Sampler_seed=list(range(6))), lines)
    text = page_in(tmp_path)
    assert [name for name in names if f"{name}: cannot be read" not in text] == []
    assert "gone.png: the file is gone" in text
    assert text.count("<img src=") == 1


def test_other_files_have_tiles_with_their_names(tmp_path: Path) -> None:
    for name in ("a_00001_.latent", "b.mp4"):
        (tmp_path / name).write_bytes(b"data")
    lines = [line(1, "a_00001_.latent"), line(2, "b.mp4")]
    write_contact_sheet(tmp_path, swept(Sampler_seed=[1, 2]), lines)
    assert '<a class="tile" data-job="1" href="./a_00001_.latent"><span class="says">' in page_in(tmp_path)


def test_the_first_picture_stands_for_several_files(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (96, 96), RED).save(tmp_path / "b.png")
    (tmp_path / "a.latent").write_bytes(b"data")
    write_contact_sheet(tmp_path, swept(Sampler_seed=[1]), [line(1, "a.latent", "b.png", "b.png")])
    assert (np.asarray(sheet_in(tmp_path)) == RED).all(-1).sum() > 8_500
    assert '<span class="count">3</span>' in page_in(tmp_path)


def test_names_are_quoted_in_addresses(tmp_path: Path) -> None:
    name = 'javascript:x "1" %20 #?<ü>.png'
    (tmp_path / "sub").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "sub" / name)
    write_contact_sheet(tmp_path, swept(Sampler_seed=[1]), [line(1, f"sub/{name}")])
    assert 'src="./sub/javascript%3Ax%20%221%22%20%2520%20%23%3F%3C%C3%BC%3E.png"' in page_in(tmp_path)


def test_seeds_that_do_not_vary_are_known_to_the_page(tmp_path: Path) -> None:
    batch = swept(Sampler_seed=[1, 2])
    write_contact_sheet(tmp_path, batch, painted(tmp_path, batch))
    found = re.search(r'id="data">(.*?)</script>', page_in(tmp_path))
    assert found is not None
    data = json.loads(found[1])
    assert data["seeds"] == [["Sampler.noise_seed", "11"]]
    assert ["Prompt.text", "a"] in data["settings"]


# ------------------------------------------------------------ the page in a browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sheet of 2 x 3 x 2 jobs; job 5 failed, job 12 is missing, job 2 has two pictures."""
    folder = tmp_path_factory.mktemp("sheet")
    batch = swept(Prompt_text=[EVIL, "a blue castle"], Sampler_seed=[3, 30, 31], Sampler_cfg=[2.0, 4.0])
    lines = painted(folder, batch)[:11]
    PIL.Image.new("RGB", (48, 24), RED).save(folder / "second #1.png")
    lines[1] = line(2, "002_00001_.png", "second #1.png")
    lines[4] = line(
        5, status="error", error={"node_id": "2", "class_type": "Sampler", "message": f"no {EVIL}"}
    )
    write_contact_sheet(folder, batch, lines)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["file", "http"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The page from the disk, as people open it, and from a server."""
    if request.param == "file":
        yield folder.as_uri() + "/"
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(address: str, chromium: Browser) -> Iterator[Page]:
    yield from opened(address, chromium)


def opened(address: str, chromium: Browser, **how: Any) -> Iterator[Page]:
    """The sheet in a window; it must not log errors, nor ask anybody else, nor run what prompts say."""
    context, seen = window(chromium, **how), Seen(address)
    page = context.new_page()
    seen.watch(page)
    page.goto(f"{address}contact_sheet.html")
    page.wait_for_selector("body[data-ready]")
    yield page
    assert page.evaluate("window.hacked") is None
    context.close()
    assert seen.foreign == []
    assert [error for error in seen.errors if "favicon" not in error and "404" not in error] == []


def until(page: Page, expression: str, given: Any = None) -> None:
    """Wait for a condition; Playwright's own waiting evaluates in the page, which its policy forbids."""
    deadline = time.monotonic() + 10
    while not page.evaluate(expression, given):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def shows(page: Page, *numbers: int) -> None:
    """Wait until these jobs and no others are to be seen."""
    tiles = "[...document.querySelectorAll('[data-job]')]"
    visible = f"{tiles}.filter((tile) => tile.checkVisibility({{visibilityProperty: true}}))"
    wanted = ",".join(map(str, numbers))
    until(page, f"(wanted) => {visible}.map((t) => t.dataset.job).join() === wanted", wanted)


@needs_chromium
def test_pictures_load_and_texts_are_texts(page: Page) -> None:
    expect(page.locator("section h2").first).to_contain_text("<img src=x onerror=window.hacked=1>")
    expect(page.locator("#shown")).to_have_text(
        "12 jobs: 2 Prompt.text × 3 Sampler.seed × 2 Sampler.cfg, 1 failed, 1 not run"
    )
    until(page, "[...document.images].slice(0, 4).every((i) => i.naturalWidth === 16)")
    expect(page.locator('[data-job="5"]')).to_have_class("tile error")
    expect(page.locator('[data-job="12"]')).to_have_text("not run")


@needs_chromium
def test_the_filter_leaves_what_fits(page: Page) -> None:
    shows(page, *range(1, 13))
    for wanted, numbers in (
        ("seed=3 castle", [7, 8]),
        ("CASTLE cfg=4.0", [8, 10, 12]),
        ('"blue castle" seed=31', [11, 12]),
        ("failed", [5]),
        ("#1.png", [2]),
        ("cfg=9", []),
        ("", list(range(1, 13))),
    ):
        page.fill("#filter", wanted)
        shows(page, *numbers)
        expect(page.locator("#nothing")).to_be_visible(visible=not numbers)
    page.fill("#filter", "seed=3 castle")
    expect(page.locator("section:visible")).to_have_count(1)
    expect(page.locator("tbody tr:visible")).to_have_count(1)
    expect(page.locator("#shown")).to_contain_text("2 of 12")


@needs_chromium
def test_the_large_view_goes_by_keys_and_keeps_to_what_is_shown(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("cfg=4.0")
    shows(page, *range(2, 13, 2))
    page.locator('[data-job="4"]').focus()
    page.keyboard.press("Enter")
    which, facts = page.locator("#which"), page.locator("#facts")
    expect(which).to_have_text("Job 4  ·  2 of 6")
    expect(facts).to_contain_text("</script><script>window.hacked=1</script>")
    expect(facts).to_contain_text("30")
    expect(facts.locator("a")).to_have_attribute("href", "./004_00001_.png")
    page.keyboard.press("ArrowLeft")
    expect(which).to_have_text("Job 2  ·  1 of 6")
    page.keyboard.press("ArrowLeft")
    expect(which).to_have_text("Job 2  ·  1 of 6")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(which).to_have_text("Job 12  ·  6 of 6")
    expect(page.locator("#frame")).to_have_text("not run")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    until(page, "location.hash === ''")
    assert page.evaluate("document.activeElement.dataset.job") == "12"


@needs_chromium
def test_the_large_view_has_every_file_and_the_keys(page: Page) -> None:
    page.locator('[data-job="2"]').click()
    large = page.locator("#frame img")
    expect(large).to_have_attribute("src", "./002_00001_.png")
    page.locator("#strip button").nth(1).click()
    expect(large).to_have_attribute("src", "./second%20%231.png")
    until(page, "document.querySelector('#frame img').naturalWidth === 48")
    page.locator("summary", has_text="Keys").click()
    expect(page.locator("dl.keys")).to_contain_text(f"{2:064x}")
    page.locator("summary", has_text="The same in all jobs").click()
    expect(page.locator("#facts")).to_contain_text("Sampler.steps")
    page.go_back()
    expect(page.locator("#large")).to_be_hidden()


@needs_chromium
def test_an_address_opens_its_job(page: Page, address: str) -> None:
    page.goto(f"{address}contact_sheet.html#job-5")
    page.reload()
    expect(page.locator("#frame p.error")).to_contain_text("no <img src=x")
    page.locator("#close").click()
    expect(page.locator("#large")).to_be_hidden()
    until(page, "location.hash === ''")


@needs_chromium
def test_nothing_sticks_out_on_a_phone(address: str, chromium: Browser) -> None:
    for page in opened(address, chromium, width=360, height=700):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator('[data-job="2"]').tap()
        expect(page.locator("#which")).to_contain_text("Job 2")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#after").tap()
        expect(page.locator("#which")).to_contain_text("Job 3")

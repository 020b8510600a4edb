"""The page in a real browser, on a real server: queue, gallery, graph, forms, keyboard, phone, token."""

import copy
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Page, expect

from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from engine.workflow import from_json
from server.editor_form import as_editor
from server.routes.page import FOLDER, POLICY
from tests.server.browsing import Live, Seen, live, needs_chromium, window

pytestmark = [pytest.mark.slow, needs_chromium]
EVIL = "<img src=x onerror=window.hacked=1>"
WAIT = 60_000
LOGGED = ("400 (Bad Request)", "net::ERR_FAILED")
"""Chromium logs what the server refuses, and what a test lets fail."""
LONG = 2000
"""Steps of a job that is cancelled before it ends."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("page"), registry, preview_method="auto") as found:
        yield found


@pytest.fixture
def page(served: Live, chromium: Browser) -> Iterator[Page]:
    """The page in a window of 1280 x 800; it must not log errors, nor ask anybody else."""
    context, seen = window(chromium), Seen(served.url)
    opened = context.new_page()
    seen.watch(opened)
    visit(opened, served)
    yield opened
    context.close()
    served.idle()
    assert seen.foreign == []
    assert [e for e in seen.errors if not any(w in e for w in LOGGED)] == []


def visit(page: Page, served: Live) -> None:
    page.goto(served.url)
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector("#form .field", state="attached")


def prompt_of(text: str, seed: int = 1, steps: int = 2, title: str = "Prompt") -> dict[str, Any]:
    """The shipped `text_to_image`, small and quick."""
    path = Path(__file__).parents[2] / "workflows" / "text_to_image.json"
    made: dict[str, Any] = copy.deepcopy(json.loads(path.read_text()))
    for node in made.values():
        match node["_meta"]["title"]:
            case "Prompt":
                node["inputs"]["text"] = text
                node["_meta"]["title"] = title
            case "Sampler":
                node["inputs"] |= {"seed": seed, "steps": steps}
            case "Size":
                node["inputs"] |= {"width": 64, "height": 64}
    return made


def tile(page: Page, text: str) -> Any:
    return page.locator("#tiles li").filter(has_text=text).first


def field(page: Page, name: str) -> Any:
    return (
        page.locator(f'#form .field[data-name="{name}"]')
        .locator("input:not([type=file]),textarea,select")
        .first
    )


# ------------------------------------------------------------ as files


def test_the_page_allows_nothing_but_itself_and_is_asked_for_anew(served: Live) -> None:
    with urllib.request.urlopen(served.url) as answer:
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Cache-Control"] == "no-cache"
    assert "unsafe" not in POLICY
    with urllib.request.urlopen(served.url + "page/main.js") as answer:
        assert answer.headers["Content-Type"].startswith("text/javascript")
        known = {"If-None-Match": answer.headers["ETag"]}
    with (
        pytest.raises(urllib.error.HTTPError) as raised,
        urllib.request.urlopen(urllib.request.Request(served.url + "page/main.js", headers=known)),
    ):
        pass
    assert raised.value.code == 304
    raised.value.close()


@pytest.mark.parametrize("name", ["nothing.js", "..%2froutes%2fpage.py", "index.html", "%2e%2e/app.py"])
def test_other_files_are_not_served(served: Live, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised, urllib.request.urlopen(f"{served.url}page/{name}"):
        pass
    assert raised.value.code == 404
    raised.value.close()


def test_no_script_parses_html_or_names_another_site() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://", text), (
            path
        )


# ------------------------------------------------------------ run and watch


def test_a_shipped_workflow_runs_from_its_form(page: Page, served: Live) -> None:
    expect(page.locator("#workflow")).to_have_value("text_to_image")
    field(page, "Prompt.text").fill("a yellow boat, the sea, noon")
    field(page, "Sampler.steps").fill("3")
    page.locator("#go").click()
    expect(tile(page, "a yellow boat")).to_be_visible(timeout=WAIT)
    (job,) = [j for j in served.ask("api/latentgraph/gallery")["jobs"] if "yellow" in j["title"]]
    entry = served.ask(f"api/latentgraph/gallery/{job['id']}")
    steps = {p["name"]: p["value"] for p in entry["form"]}
    assert steps["Sampler.steps"] == 3
    assert steps["Sampler.seed"] != 1, "a new seed for each run"
    picture = tile(page, "a yellow boat").locator("img")
    picture.scroll_into_view_if_needed()
    expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_what_runs_is_shown_with_its_step_and_picture_and_can_be_cancelled(page: Page, served: Live) -> None:
    id = served.run(prompt_of("a long job", 1, LONG))
    row = page.locator("#running .job")
    expect(row).to_contain_text("a long job", timeout=WAIT)
    expect(row.locator(".node")).to_have_text("Sampler", timeout=WAIT)
    expect(row.locator(".steps")).to_have_text(re.compile(rf"step \d+/{LONG}"), timeout=WAIT)
    first = row.locator(".steps").inner_text()
    expect(row.locator(".steps")).not_to_have_text(
        first, timeout=4000
    )  # though its messages flood the socket
    expect(row.locator("progress")).not_to_have_js_property("value", 0)
    expect(row.locator("img")).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator("#state")).to_have_text("1 running")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0, timeout=WAIT)
    page.locator("#status").select_option("cancelled")
    expect(tile(page, "a long job")).to_contain_text("Cancelled", timeout=WAIT)
    assert served.ask(f"api/latentgraph/gallery/{id}")["status"] == "cancelled"


def test_a_job_is_paused_and_resumed(page: Page, served: Live) -> None:
    served.run(prompt_of("a patient job", 2, LONG))
    running, waiting = page.locator("#running .job"), page.locator("#waiting .job")
    running.get_by_role("button", name="Pause").click(timeout=WAIT)
    expect(waiting).to_contain_text("paused", timeout=WAIT)
    expect(running).to_have_count(0)
    waiting.get_by_role("button", name="Resume").click()
    expect(running).to_contain_text("a patient job", timeout=WAIT)
    expect(waiting).to_have_count(0)


def test_the_queue_is_cleared_after_a_question(page: Page, served: Live) -> None:
    for number in range(4):
        served.run(prompt_of(f"waits {number}", number, LONG))
    rows = page.locator("#waiting .job")
    expect(rows).to_have_count(3, timeout=WAIT)
    rows.first.get_by_role("button", name="Cancel").click()
    expect(rows).to_have_count(2)
    page.locator("#clear").click()
    page.locator("#confirm button[value=no]").click()
    expect(rows).to_have_count(2)
    page.locator("#clear").click()
    page.locator("#confirm button[value=yes]").click()
    expect(rows).to_have_count(0)
    expect(page.locator("#running .job")).to_have_count(1)


def test_everything_wrong_is_shown_at_its_field_at_once(page: Page) -> None:
    field(page, "Sampler.steps").fill("0")
    field(page, "Sampler.cfg").fill("much")
    field(page, "Size.width").fill("-8")
    page.locator("#go").click()
    wrong = page.locator("#form [aria-invalid=true]")
    expect(wrong).to_have_count(3)
    names = ("Sampler.steps", "Sampler.cfg", "Size.width")
    for name in names:
        error = page.locator(f'#form .field[data-name="{name}"] .error')
        expect(error).not_to_be_empty()
    expect(page.locator('#form .field[data-name="Sampler.steps"] .error')).to_contain_text(
        "smaller than min of 1"
    )
    for name, value in zip(names, ("2", "4", "64"), strict=True):
        field(page, name).fill(value)
    page.locator("#go").click()
    expect(page.locator("#notice")).to_contain_text("In the queue")
    expect(wrong).to_have_count(0)


def test_what_is_wrong_elsewhere_stands_above_the_fields(page: Page) -> None:
    prompt = prompt_of("a house")
    prompt["99"] = {"class_type": "NoSuchNode", "inputs": {}}
    drop(page, "broken.json", json.dumps(prompt).encode())
    expect(field(page, "Prompt.text")).to_have_value("a house")
    page.locator("#go").click()
    expect(page.locator("#form .problems")).to_contain_text("NoSuchNode")


# ------------------------------------------------------------ files


def drop(page: Page, name: str, content: bytes, target: str = "body", kind: str = "") -> None:
    """Drop a file, as a browser would."""
    page.evaluate(
        """([name, bytes, target, type]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, { type }));
            const how = { dataTransfer: data, bubbles: true, cancelable: true };
            document.querySelector(target).dispatchEvent(new DragEvent("drop", how));
        }""",
        [name, list(content), target, kind],
    )


def png(prompt: Any = None, compressed: bool = False, kind: str = "tEXt") -> bytes:
    chunks, out = PngInfo(), io.BytesIO()
    if prompt is not None:
        add = chunks.add_itxt if kind == "iTXt" else chunks.add_text
        add("prompt", json.dumps(prompt), zip=compressed)
    PIL.Image.new("RGB", (8, 8), "red").save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


@pytest.mark.parametrize("how", ["json", "tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_a_dropped_file_becomes_a_form(page: Page, how: str) -> None:
    prompt = prompt_of("a blue tower, ☃ snow")
    content = json.dumps(prompt).encode() if how == "json" else png(prompt, how[0] in "zp", how[-4:])
    drop(page, f"mine.{how}", content)
    expect(field(page, "Prompt.text")).to_have_value("a blue tower, ☃ snow")
    expect(page.locator("#own-workflow")).to_have_text(f"mine.{how}")
    expect(field(page, "Sampler.seed")).to_have_value("1")


def test_a_file_of_the_editor_becomes_a_form(page: Page, registry: Registry, tmp_path: Path) -> None:
    env = Env(Files.under(tmp_path, items=registry.items))
    form = as_editor(from_json(prompt_of("a red house")), registry, env)
    drop(page, "mine.json", json.dumps(form).encode())
    expect(field(page, "Prompt.text")).to_have_value("a red house")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(), "no workflow"),
        (b'{"nodes": [], "links": []}', "no nodes that run"),
        (b"not json", "mine"),
        (b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt", "no workflow"),
    ],
)
def test_a_file_without_a_workflow_is_told(page: Page, content: bytes, words: str) -> None:
    drop(page, "mine", content)
    expect(page.locator("#notice.bad")).to_contain_text(words)


def test_a_picture_is_uploaded_by_choosing_or_dropping_it(page: Page, served: Live) -> None:
    page.locator("#workflow").select_option("image_to_image")
    picture = page.locator("#form .picture")
    picture.locator("input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png()}
    )
    expect(field(page, "Image.image")).to_have_value("mine.png")
    drop(page, "dropped.png", png({"1": 2}), "#form .picture", "image/png")
    expect(field(page, "Image.image")).to_have_value("dropped.png")
    expect(page.locator("#form .picture img")).to_have_js_property("naturalWidth", 8)
    with urllib.request.urlopen(f"{served.url}view?filename=dropped.png&type=input") as answer:
        assert answer.read() == png({"1": 2})


# ------------------------------------------------------------ gallery


@pytest.fixture(scope="module")
def pictures(served: Live) -> Live:
    """The server with a few ended jobs: pictures, one with hostile words, one that failed."""
    for number, text in enumerate(("a red castle", "a green tree", "a white house")):
        served.ran(prompt_of(text, number))
    evil = prompt_of(f"{EVIL} a fence", 4, title=EVIL)
    save = next(n for n in evil.values() if n["class_type"] == "SaveImage")
    save["inputs"]["filename_prefix"] = "rare_name"
    save["_meta"]["title"] = EVIL
    served.ran(evil)
    (served.state.files.folders["input"][0] / "torn.png").write_bytes(b"no picture")
    load = {"class_type": "LoadImage", "inputs": {"image": "torn.png"}, "_meta": {"title": "The torn one"}}
    served.ran({"1": load, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})
    return served


def test_the_gallery_is_searched_by_text_class_file_and_status(page: Page, pictures: Live) -> None:
    tiles = page.locator("#tiles li")
    for words, text in (("green TREE", "a green tree"), ("rare_name_0", "a fence"), ("torn", "LoadImage")):
        page.locator("#search").fill(words)
        expect(tiles).to_have_count(1)
        expect(tiles.first).to_contain_text(text)
    page.locator("#search").fill("KSampler")
    expect(tiles.filter(has_text="a red castle")).to_have_count(1)
    page.locator("#search").fill("zebra")
    expect(page.locator("#nothing")).to_have_text("Nothing was found.")
    page.locator("#search").fill("")
    page.locator("#status").select_option("error")
    expect(tiles.filter(has_text="torn")).to_have_count(1)
    expect(tiles.filter(has_text="castle")).to_have_count(0)


def test_a_failed_job_says_where_why_and_what_to_do(page: Page, pictures: Live) -> None:
    tile(page, "The torn one").get_by_role("button").click()
    failure = page.locator("#facts .failure")
    expect(failure).to_contain_text("The torn one")
    expect(failure).to_contain_text("LoadImage")
    expect(failure.locator(".message")).not_to_be_empty()
    expect(page.locator(".box.failed")).to_contain_text("The torn one")


def test_a_job_is_shown_large_with_its_graph_and_settings(page: Page, pictures: Live) -> None:
    tile(page, "a red castle").get_by_role("button").click()
    expect(page.locator("#stage .large")).to_have_js_property("naturalWidth", 64)
    expect(page.locator("#facts dl").first).to_contain_text("a red castle")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    with PIL.Image.open(download.value.path()) as saved:
        assert saved.size == (64, 64)
    page.locator("#tab-graph").click()
    expect(page.locator(".box")).to_have_count(7)
    expect(page.locator(".link")).to_have_count(9)
    page.locator(".box").filter(has_text="Sampler").hover()
    expect(page.locator(".graph .facts")).to_contain_text("dpmpp_2m")
    expect(page.locator(".graph .facts")).to_contain_text("← Checkpoint")
    page.locator(".drawing").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".box.shown")).to_have_count(1)


def test_a_job_is_run_again_exactly_and_opened_as_a_form(page: Page, pictures: Live) -> None:
    seed = 2**64 - 3
    id = pictures.ran(prompt_of("an exact house", seed))
    tile(page, "an exact house").get_by_role("button").click()
    expect(page.locator("#facts")).to_contain_text(str(seed))
    before = len(pictures.ask("history"))
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("#notice")).to_contain_text("again")
    page.get_by_role("button", name="Open as form").click()
    expect(page.locator("#detail")).to_be_hidden()
    expect(field(page, "Sampler.seed")).to_have_value(str(seed))
    page.locator("#go").click()
    expect(page.locator("#tiles li").filter(has_text="an exact house")).to_have_count(3, timeout=WAIT)
    history = pictures.ask("history")
    assert len(history) == before + 2
    prompts = [entry["prompt"][2] for entry in history.values()]
    assert [p for p in prompts if p == history[id]["prompt"][2]] == [history[id]["prompt"][2]] * 3


def test_words_of_workflows_are_never_html(page: Page, pictures: Live) -> None:
    page.locator("#search").fill("a fence")
    expect(page.locator("#tiles li")).to_have_count(1)
    page.locator("#tiles button").click()
    expect(page.locator("#detail-title")).to_contain_text(EVIL)
    expect(page.locator("#facts")).to_contain_text(EVIL)
    page.locator("#tab-graph").click()
    page.locator(".box").filter(has_text=EVIL[:10]).first.hover()
    expect(page.locator(".graph .facts h4")).to_contain_text(EVIL)
    page.get_by_role("button", name="Open as form").click()
    expect(page.locator("#form")).to_contain_text(EVIL)
    pictures.run(prompt_of(EVIL, 9, LONG, EVIL))
    expect(page.locator("#running .title")).to_have_text(EVIL, timeout=WAIT)
    drop(page, f"{EVIL}.json", json.dumps(prompt_of("x", title=EVIL)).encode())
    expect(page.locator("#own-workflow")).to_have_text(f"{EVIL}.json")
    drop(page, f"{EVIL}.json", b"{}")
    expect(page.locator("#notice.bad")).to_contain_text(EVIL)
    assert page.evaluate("document.querySelectorAll('[onerror], img[src=x]').length") == 0
    assert page.evaluate("window.hacked") is None


def test_five_hundred_nodes_are_drawn_at_once(page: Page) -> None:
    milliseconds = page.evaluate(
        """async () => {
            const { graph, layout } = await import("/page/graph.js");
            const nodes = {}, from = (i) => [String(Math.floor(i)), 0];
            for (let i = 0; i < 500; i++)
                nodes[i] = { class_type: "N", inputs: { a: from(i - 1), b: from(i / 2) } };
            nodes[3].inputs.a = ["7", 0]; // a cycle, which no server runs
            const start = performance.now();
            document.body.append(graph(nodes));
            document.body.lastElementChild.getBoundingClientRect();
            const places = [...layout(nodes).at.values()].map(({ x, y }) => `${x} ${y}`);
            return [performance.now() - start, new Set(places).size];
        }"""
    )
    assert milliseconds[1] == 500, "no two nodes stand in one place"
    assert milliseconds[0] < 2000
    expect(page.locator(".box")).to_have_count(500)


def test_json_keeps_large_integers(page: Page) -> None:
    numbers = '"f": 0.12345678901234567890, "n": -9007199254740993'
    text = r'{"seed": 18446744073709551613, "t": "x 12345678901234567890 \\", ' + numbers + "}"
    again = page.evaluate(
        "async (t) => { const m = await import('/page/exact.js'); return m.stringify(m.parse(t)); }", text
    )
    assert json.loads(again) == json.loads(text)
    assert type(json.loads(again)["seed"]) is int


# ------------------------------------------------------------ keyboard, phone, token


def test_the_keyboard_reaches_everything(page: Page, pictures: Live) -> None:
    order = [job["id"] for job in pictures.ask("api/latentgraph/gallery")["jobs"]]

    def at(place: int) -> None:
        expect(page.locator(f'#tiles li[data-key="{order[place]}"] button')).to_be_focused()

    expect(page.locator("#tiles li").nth(min(len(order), 8) - 1)).to_be_attached()
    for keys, place in (("j", 0), ("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0)):
        page.keyboard.press(keys)
        at(place)
    columns = page.evaluate(
        "getComputedStyle(document.querySelector('#tiles')).gridTemplateColumns.split(' ').length"
    )
    page.keyboard.press("ArrowDown")
    at(columns)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus can be seen"
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    expect(page.locator("#facts .id")).to_have_text(order[columns])
    page.keyboard.press("k")
    expect(page.locator("#facts .id")).to_have_text(order[columns - 1])
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    at(columns - 1)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("Cancel the selected job")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#search")).to_have_value("j")
    page.locator("#search").fill("")
    page.keyboard.press("Escape")
    field(page, "Sampler.steps").fill(str(LONG))
    page.locator("h1").click()
    page.keyboard.press("r")
    row = page.locator("#running .job")
    expect(row).to_have_count(1, timeout=WAIT)
    row.focus()
    page.keyboard.press("c")
    expect(row).to_have_count(0, timeout=WAIT)


SMALL = """() => [...document.querySelectorAll('button, a[href], select, input, textarea, summary')]
    .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.classList.contains('visually-hidden'))
    .map(e => [e, (e.type === 'checkbox' ? e.closest('label') ?? e : e).getBoundingClientRect()])
    .filter(([e, r]) => r.width > 0 && (r.height < 43.5 || r.width < 43.5))
    .map(([e, r]) => `${e.tagName} ${e.id} ${e.textContent.slice(0, 20)} ${r.width}x${r.height}`)"""


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_it_without_scrolling_sideways(pictures: Live, chromium: Browser, width: int) -> None:
    context = window(chromium, width, 844)
    page = context.new_page()
    visit(page, pictures)
    pictures.run(prompt_of("a long job on a phone, with a long long prompt", 1, LONG))

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SMALL) == []

    fits()
    page.locator("#parts").get_by_text("Queue").tap()
    expect(page.locator("#running .job")).to_be_visible(timeout=WAIT)
    expect(page.locator("#tiles")).to_be_hidden()
    fits()
    page.locator("#parts").get_by_text("Run").tap()
    expect(page.locator("#go")).to_be_in_viewport()
    page.locator("#form summary").tap()
    fits()
    page.locator("#workflow").select_option("image_to_image")
    expect(page.locator("#form .picture")).to_be_visible()
    fits()
    page.locator("#parts").get_by_text("Gallery").tap()
    page.locator("#tiles li.success button").first.tap()
    expect(page.locator("#stage .large")).to_be_visible()
    fits()
    page.locator("#tab-graph").tap()
    fits()
    context.close()
    pictures.idle()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(pictures: Live, chromium: Browser, scheme: Any) -> None:
    context = window(chromium, color_scheme=scheme)
    page = context.new_page()
    visit(page, pictures)
    ratios = page.evaluate(
        """() => {
            const light = (c) => c.match(/[\\d.]+/g).slice(0, 3)
                .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const style = getComputedStyle(document.documentElement);
            const probe = document.body.appendChild(document.createElement("i"));
            const of = (name) => (probe.style.color = `var(${name})`, light(getComputedStyle(probe).color));
            const ratio = (a, b) => (Math.max(of(a), of(b)) + 0.05) / (Math.min(of(a), of(b)) + 0.05);
            const inks = ["--ink", "--soft", "--accent", "--bad"];
            const pairs = inks.flatMap(i => ["--ground", "--panel", "--sunk"].map(g => [i, g]));
            pairs.push(["--on-accent", "--accent"], ["--bad", "--bad-tint"]);
            return pairs.map(p => [p.join(" on "), ratio(...p)]);
        }"""
    )
    assert [(name, ratio) for name, ratio in ratios if ratio < 4.5] == []
    context.close()


def test_a_token_is_asked_for_once(tmp_path: Path, registry: Registry, chromium: Browser) -> None:
    with live(tmp_path, registry, token="open-sesame") as served:
        context = window(chromium)
        page = context.new_page()
        page.goto(served.url)
        dialog = page.locator("#token")
        expect(dialog).to_be_visible()
        page.locator("#token-value").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-wrong")).not_to_be_empty()
        page.locator("#token-value").fill("open-sesame")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.wait_for_selector("#form .field")
        served.ask("prompt", {"prompt": prompt_of("a secret house")}, "open-sesame")
        picture = tile(page, "a secret house").locator("img")
        expect(picture).to_be_visible(timeout=WAIT)
        expect(picture).not_to_have_js_property("naturalWidth", 0)
        (cookie,) = context.cookies()
        assert (cookie["name"], cookie["sameSite"], cookie["expires"]) == ("latentgraph_token", "Strict", -1)
        page.reload()
        page.wait_for_selector("#form .field")
        expect(dialog).to_be_hidden()
        context.close()


def test_a_server_that_goes_away_is_told_and_found_again(page: Page) -> None:
    page.route("**/overview", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#offline")).to_be_visible()
    page.unroute("**/overview")
    expect(page.locator("#offline")).to_be_hidden(timeout=WAIT)

"""The inputs of a workflow that people set, as a form and as a schema."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from engine.check import check
from engine.files import Files
from engine.graph import bind
from engine.ports import Env
from engine.registry import Registry
from engine.workflow import from_json, load
from server.parameters import TITLES, json_schema, parameters
from server.routes import shipped
from tests.server.states import app_of, state_at

FOLDER = Path(__file__).parents[2] / "workflows"
SHIPPED = sorted(p.stem for p in FOLDER.glob("*.json"))
Client = TestClient[Any, Any]


@pytest.fixture
def env(tmp_path: Path, registry: Registry) -> Env:
    return Env(Files.under(tmp_path, items=registry.items))


@pytest.fixture
async def client(tmp_path: Path, registry: Registry, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(app_of(state_at(tmp_path, registry), shipped.ROUTES))


def graph(*nodes: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    return {
        str(id): {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
        for id, (class_type, title, inputs) in enumerate(nodes, 1)
    }


def test_a_parameter_says_all_that_a_form_needs(registry: Registry, env: Env) -> None:
    workflow = from_json(graph(("EmptyLatentImage", "Size", {"width": 64, "height": 32, "batch_size": 1})))
    width, *_ = parameters(workflow, registry, env)
    node = registry.nodes["EmptyLatentImage"].input("width")
    assert node is not None
    assert width.as_json() == {
        "name": "Size.width", "node_id": "1", "title": "Size", "class_type": "EmptyLatentImage",
        "input": "width", "type": "INT", "value": 64, "common": True, "min": 16, "max": 16384, "step": 8,
        "doc": node.doc,
    }  # fmt: skip


def test_texts_seeds_and_files_are_told_apart(registry: Registry, env: Env) -> None:
    form = {p.name: p for p in parameters(load(FOLDER / "image_to_image.json"), registry, env)}
    assert form["Prompt.text"].multiline
    assert form["Sampler.seed"].seed
    assert form["Image.image"].role == "input"
    assert "house.png" in (form["Image.image"].choices or ())
    assert form["Checkpoint.ckpt_name"].role == "checkpoints"
    assert not form["Sampler.steps"].seed


def test_inputs_that_are_linked_are_not_in_the_form(registry: Registry, env: Env) -> None:
    workflow = from_json(
        graph(("PrimitiveInt", "Number", {"value": 8}), ("ImageScale", "Size", {"width": ["1", 0]}))
    )
    names = [p.name for p in parameters(workflow, registry, env)]
    assert "Number.value" in names
    assert "Size.width" not in names


def test_titled_nodes_come_first_in_the_order_of_a_form(registry: Registry, env: Env) -> None:
    form = parameters(load(FOLDER / "inpaint_controlnet_upscale.json"), registry, env)
    order = list(dict.fromkeys(p.title for p in form))
    common = [title for title in TITLES if title in order]
    assert order[: len(common)] == common
    assert [p.common for p in form] == sorted((p.common for p in form), reverse=True)


def test_two_nodes_of_one_title_are_named_by_their_ids(registry: Registry, env: Env) -> None:
    workflow = from_json(graph(*[("CLIPTextEncode", "Prompt", {"text": "a"})] * 2))
    assert [p.name for p in parameters(workflow, registry, env)] == ["1.text", "2.text"]


def test_a_title_that_is_another_nodes_id_does_not_name_it(registry: Registry, env: Env) -> None:
    nodes = graph(("CLIPTextEncode", "2", {"text": "a"}), ("CLIPTextEncode", "Prompt", {"text": "b"}))
    workflow = from_json(nodes)
    form = parameters(workflow, registry, env)
    assert {p.name: p.value for p in form} == {"1.text": "a", "Prompt.text": "b"}


def test_nodes_of_unknown_classes_are_left_out(registry: Registry, env: Env) -> None:
    assert parameters(from_json(graph(("Nope", "Prompt", {"text": "a"}))), registry, env) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_allows_what_the_workflow_has_and_each_name_sets_it(
    name: str, registry: Registry, env: Env
) -> None:
    workflow = load(FOLDER / f"{name}.json")
    form = parameters(workflow, registry, env)
    schema = json_schema(name, form)
    jsonschema.Draft202012Validator.check_schema(schema)
    values = {p.name: p.value for p in form}
    jsonschema.validate(values, schema)
    assert len(values) == len(form)
    same = workflow.with_inputs(values)
    assert check(bind(same, registry), env).problems == check(bind(workflow, registry), env).problems
    for p in form:
        assert same.nodes[p.node_id].inputs[p.input] == p.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sampler.steps", 0), ("Sampler.steps", "many"), ("Sampler.sampler_name", "eulr"), ("Nope.text", "a"),
        ("Checkpoint.ckpt_name", "nope.safetensors"), ("Prompt.text", 5),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_workflow_would_refuse(
    name: str, value: Any, registry: Registry, env: Env
) -> None:
    schema = json_schema("t", parameters(load(FOLDER / "text_to_image.json"), registry, env))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value}, schema)


def test_the_schema_lets_a_picture_be_named_that_is_uploaded_later(registry: Registry, env: Env) -> None:
    schema = json_schema("t", parameters(load(FOLDER / "upscale.json"), registry, env))
    jsonschema.validate({"Image.image": "later.png"}, schema)


async def test_the_shipped_workflows_are_listed(client: Client) -> None:
    answer = await (await client.get("/api/latentgraph/workflows")).json()
    assert [w["name"] for w in answer["workflows"]] == SHIPPED
    by_name = {w["name"]: w for w in answer["workflows"]}
    assert by_name["text_to_image"]["title"] == "Text to image"
    assert "Prompt" in by_name["text_to_image"]["description"]


async def test_a_shipped_workflow_is_told_with_its_form_and_schema(client: Client) -> None:
    answer = await (await client.get("/api/latentgraph/workflows/text_to_image")).json()
    assert answer["workflow"] == load(FOLDER / "text_to_image.json").as_api()
    assert [p["name"] for p in answer["form"]][:2] == ["Prompt.text", "Negative prompt.text"]
    assert answer["json_schema"]["properties"].keys() == {p["name"] for p in answer["form"]}


async def test_a_workflow_that_is_not_there_is_not_found_with_a_near_name(client: Client) -> None:
    answer = await client.get("/api/latentgraph/workflows/text_to_imag")
    assert answer.status == 404
    assert "text_to_image" in await answer.text()

"""The OpenAPI document: valid, and of exactly the routes that the server has."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from openapi_spec_validator import validate
from pytest_aiohttp.plugin import AiohttpClient

from engine.registry import Registry
from server.app import ONCE
from server.openapi import FACTS, SCHEMAS, document
from server.routes.description import registered
from tests.server.states import all_routes, app_of, state_at

Client = TestClient[Any, Any]


@pytest.fixture
def app(tmp_path: Path, registry: Registry) -> web.Application:
    return app_of(state_at(tmp_path, registry), all_routes())


@pytest.fixture
async def client(app: web.Application, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(app)


def described(app: web.Application) -> set[tuple[str, str]]:
    """The routes, those under `/api` by the path that they double."""
    found = set(registered(app))
    twins = {(method, f"/api{path}") for method, path in found if not path.startswith(ONCE) and path != "/"}
    facts = {(fact.method, fact.path) for fact in FACTS}
    return {
        (method, path) for method, path in found - twins if method != "HEAD" or ("GET", path) not in facts
    }


def test_every_route_is_described(app: web.Application) -> None:
    assert sorted(described(app) - {(fact.method, fact.path) for fact in FACTS}) == []


def test_every_described_route_is_there(app: web.Application) -> None:
    assert sorted({(fact.method, fact.path) for fact in FACTS} - described(app)) == []


def test_no_route_is_described_twice() -> None:
    names = [(fact.method, fact.path) for fact in FACTS]
    assert len(names) == len(set(names))


def test_the_document_of_all_that_is_described_is_valid() -> None:
    made = document([(fact.method, fact.path) for fact in FACTS], "1.0")
    validate(made)
    assert sum(len(item.keys() - {"servers"}) for item in made["paths"].values()) == len(FACTS)
    ids = [o["operationId"] for item in made["paths"].values() for k, o in item.items() if k != "servers"]
    assert len(ids) == len(set(ids))


def test_every_schema_is_valid_and_used() -> None:
    made = str(document([(fact.method, fact.path) for fact in FACTS], "1.0"))
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{name}'" in made, name


def test_only_what_the_server_has_is_in_the_document() -> None:
    made = document([("GET", "/health"), ("GET", "/api/health"), ("GET", "/odd")], "1.0")
    assert list(made["paths"]) == ["/health"]
    assert made["paths"]["/health"]["servers"] == [{"url": "/"}, {"url": "/api"}]
    assert made["paths"]["/health"]["get"]["security"] == []
    assert "servers" not in document([("GET", "/metrics")], "1.0")["paths"]["/metrics"]


def test_parameters_stand_where_they_belong() -> None:
    made = document([("GET", "/view"), ("GET", "/history/{prompt_id}"), ("POST", "/api/v2/jobs")], "1.0")
    view = {p["name"]: p for p in made["paths"]["/view"]["get"]["parameters"]}
    assert (view["filename"]["in"], view["filename"]["required"]) == ("query", True)
    assert view["subfolder"]["required"] is False
    (id,) = made["paths"]["/history/{prompt_id}"]["get"]["parameters"]
    assert (id["name"], id["in"], id["required"]) == ("prompt_id", "path", True)
    (key,) = made["paths"]["/api/v2/jobs"]["post"]["parameters"]
    assert (key["name"], key["in"]) == ("Idempotency-Key", "header")


async def test_the_document_is_served_and_describes_itself(client: Client) -> None:
    made = await (await client.get("/openapi.json")).json()
    validate(made)
    assert "/openapi.json" in made["paths"]
    assert "/object_info" in made["paths"]


@pytest.mark.parametrize(
    "path",
    [
        "/object_info", "/object_info/KSampler", "/system_stats", "/features", "/extensions",
        "/workflow_templates", "/api/workflow_templates/latentgraph/upscale.json", "/i18n",
        "/api/latentgraph/workflows", "/api/latentgraph/workflows/upscale", "/health", "/api/v2/health",
        "/models", "/models/checkpoints", "/experiment/models", "/experiment/models/checkpoints",
        "/embeddings",
    ],
)  # fmt: skip
async def test_an_answer_is_as_its_schema_says(client: Client, path: str) -> None:
    made = await (await client.get("/openapi.json")).json()
    item = next(item for template, item in made["paths"].items() if meets(template, path))
    answer = await client.get(path)
    assert answer.status == 200
    schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(await answer.json(), {**schema, "components": made["components"]})


def meets(template: str, path: str) -> bool:
    shape, parts = template.split("/"), path.split("/")
    return len(shape) == len(parts) and all(a == b or "{" in a for a, b in zip(shape, parts, strict=True))

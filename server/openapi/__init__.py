"""The OpenAPI document of the server, made of what is known of each route that it has."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from server.openapi import classic, files, jobs, page
from server.openapi.facts import JSON, PLAIN, TEXT, Route, ref

FACTS = (*classic.ROUTES, *files.ROUTES, *jobs.ROUTES, *page.ROUTES)
SCHEMAS = classic.SCHEMAS | files.SCHEMAS | jobs.SCHEMAS | page.SCHEMAS
ABOUT = (
    "Runs saved image-generation workflows. The classic routes are ComfyUI's and stand under `/` and `/api`; "
    "the versioned jobs and assets stand under `/api/v2`."
)


def document(registered: Iterable[tuple[str, str]], version: str) -> dict[str, Any]:
    """The document.

    Args:
        registered: Methods and path templates of the routes that the server has.
    """
    known = set(registered)
    here = [fact for fact in FACTS if (fact.method, fact.path) in known]
    paths: dict[str, Any] = {}
    for fact in here:
        item = paths.setdefault(fact.path, {})
        item[fact.method.lower()] = _operation(fact)
        if (fact.method, f"/api{fact.path}") in known:
            item["servers"] = [{"url": "/"}, {"url": "/api"}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "latentgraph", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(fact.tag for fact in here)],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(fact: Route) -> dict[str, Any]:
    words = re.findall(r"\w+", fact.path) or ["root"]
    operation: dict[str, Any] = {
        "operationId": "_".join([fact.method.lower(), *words]),
        "summary": fact.summary,
        "tags": [fact.tag],
        "responses": {str(status): _answer(fact, status) for status in fact.statuses}
        | {str(status): _error(fact, status) for status in sorted(fact.errors)},
    }
    if parameters := _parameters(fact):
        operation["parameters"] = parameters
    if fact.body is not None:
        content = {fact.body_type: {"schema": fact.body}}
        operation["requestBody"] = {"content": content, "required": "required" in fact.body}
    if fact.open:
        operation["security"] = []
    return operation


def _parameters(fact: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in re.findall(r"{(\w+)}", fact.path)
    ]
    named = [("query", name, s) for name, s in fact.query.items()]
    named += [("header", name, s) for name, s in fact.headers.items()]
    return in_path + [
        {"name": name.rstrip("!"), "in": place, "required": name.endswith("!"), "schema": schema}
        for place, name, schema in named
    ]


def _answer(fact: Route, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if fact.answer is not None:
        answer["content"] = {fact.answer_type: {"schema": fact.answer}}
    return answer


def _error(fact: Route, status: int) -> dict[str, Any]:
    versioned = fact.path.startswith("/api/v2/")
    content: dict[str, Any] = {JSON: {"schema": ref("Error" if versioned else "ClassicError")}}
    if not versioned:
        content[PLAIN] = {"schema": TEXT}
    return {"description": fact.errors[status], "content": content}

"""The form in which routes are described, and the schemas that several of them use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
INT: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
OBJECT: Schema = {"type": "object"}
TIME: Schema = {"type": "string", "format": "date-time"}
JSON = "application/json"
FORM = "multipart/form-data"
BYTES = "application/octet-stream"
PLAIN = "text/plain"


@dataclass(frozen=True)
class Route:
    """What is told of one route.

    Args:
        query: Schemas of the query parameters, by name; those that must be there end in `!`.
        headers: Likewise of the request's headers.
        body: Schema of the request's body.
        answer: Schema of a good answer; None: it has no body.
        statuses: Those of good answers.
        errors: What refusals mean, by status.
        open: Whether no token is asked for.
    """

    method: str
    path: str
    summary: str
    tag: str
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    body_type: str = JSON
    answer: Schema | None = None
    answer_type: str = JSON
    statuses: tuple[int, ...] = (200,)
    errors: Mapping[int, str] = field(default_factory=dict)
    open: bool = False


def ref(name: str) -> Schema:
    """A schema among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def by_name(values: Schema) -> Schema:
    """An object with any keys and these values."""
    return {"type": "object", "additionalProperties": values}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def or_null(schema: Schema) -> Schema:
    """This or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def has(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with these properties, further ones allowed."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def may_have(**optional: Schema) -> Schema:
    """An object of which every property may be left out."""
    return {"type": "object", "properties": optional}

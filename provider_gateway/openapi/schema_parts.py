"""Parts of JSON Schemas, of which bodies are described."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provider_gateway.openapi.operation import Schema

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def object_of(description: str, optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object. More members than these may come with later versions.

    Args:
        optional: members that may be missing.
        properties: schemas of the members.
    """
    return {
        "description": description,
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


def or_null(schema: Schema) -> Schema:
    """A schema that has a type, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def list_of(items: Schema) -> Schema:
    """A list of anything that has a schema."""
    return {"type": "array", "items": items}

"""Texts of a page: escaped, with paragraphs, lists and code spans; and schemas in words."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE = re.compile(r"`([^`]+)`")


def escaped(text: str) -> str:
    """Text as HTML, for elements and attributes."""
    return html.escape(text)


def paragraphs(text: str) -> str:
    """CommonMark as HTML, as far as our descriptions use it: paragraphs, flat lists, code spans."""
    return "".join(_block(block) for block in re.split(r"\n{2,}", text.strip()) if block)


def _block(block: str) -> str:
    if block.startswith("- "):
        items = re.split(r"\n- ", block[2:])
        return f"<ul>{''.join(f'<li>{_spans(item)}</li>' for item in items)}</ul>"
    return f"<p>{_spans(block)}</p>"


def _spans(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escaped(text))


def type_text(schema: Mapping[str, Any]) -> str:
    """What a schema allows, as HTML of a few words; references link to the schema that they name."""
    if "$ref" in schema:
        name = escaped(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for keyword, between in (("allOf", " with "), ("anyOf", " or ")):
        if keyword in schema:
            return between.join(map(type_text, schema[keyword]))
    if "properties" in schema:
        members = (f"<code>{escaped(name)}</code>: {type_text(value)}" for name, value in schema["properties"].items())
        return f"<ul>{''.join(f'<li>{member}</li>' for member in members)}</ul>"
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return " or ".join(f"<code>{escaped(json.dumps(value))}</code>" for value in values)
    return f"list of {type_text(schema['items'])}" if schema.get("type") == "array" else _simple(schema)


def _simple(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "anything")
    words = [kind if isinstance(kind, str) else " or ".join(kind)]
    words += [
        f"{name} {schema[key]}"
        for key, name in (("minimum", "from"), ("maximum", "to"), ("format", "as"), ("default", "by default"))
        if key in schema
    ]
    if "pattern" in schema:
        words.append(f"like <code>{escaped(schema['pattern'])}</code>")
    return " ".join(words)

"""Write the JSON Schemas of queue file and access file into a folder: ``python -m devtools.file_schemas docs/schemas``.

They come from the classes that read the files. What a key means is taken from the tables of docs/.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.security.access_rules import AccessRule

DOCS = Path(__file__).parents[1] / "docs"
_ROW = re.compile(r"^\| (`[^|]*`) \| ([^|]*) \| (.*) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """No titles: they would repeat the keys."""
        return False


def meanings(document: str, heading: str) -> dict[str, str]:
    """What keys mean, from the tables below a heading of a document: by key, such as ``model.url``."""
    _, _, text = (DOCS / document).read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    found: dict[str, str] = {}
    for keys, default, meaning in _ROW.findall(text.partition("\n## ")[0]):
        whole = f"{default} {meaning}" if meaning.startswith("or ") else meaning
        found |= dict.fromkeys(re.findall("`([^`]+)`", keys), _plain(whole))
    return found


def _plain(text: str) -> str:
    """Markdown as text: of links to other places only the words, of "below" nothing."""
    text = re.sub(r"( Hosts)?:? \[(below|above)\]\([^)]*\)", "", text)
    text = re.sub(r" \(\[[^\]]*\]\([^)]*\)\)|: \[[a-z-]+\.md\]\([^)]*\)", "", text)
    return _LINK.sub(r"\1", text).replace("`", "").replace("\\", "")


def _tidy(name: str, schema: dict[str, Any], texts: dict[str, str], prefix: str) -> None:
    """Describe the keys of one class, and leave out what says nothing."""
    schema.pop("title", None)
    schema.pop("description", None)  # it is about the attributes of the class
    for key, value in schema["properties"].items():
        if value.get("default", ...) in (None, [], {}):
            del value["default"]
        if (text := texts.get(prefix + key)) is not None:
            value["description"] = text
    # Editors offer the keys in this order.
    assert schema["additionalProperties"] is False, name


def _schema(adapter: TypeAdapter[Any], title: str, texts: dict[str, str], prefixes: dict[str, str]) -> dict[str, Any]:
    schema = adapter.json_schema(by_alias=True, schema_generator=_Generator)
    for name, definition in schema["$defs"].items():
        _tidy(name, definition, texts, prefixes.get(name, "?"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def file_schemas() -> dict[str, dict[str, Any]]:
    """The schemas by file name."""
    queue_file = meanings("settings.md", "Queue file")
    access_file = meanings("security.md", "Access file")
    access_file |= {f"webhooks.{key}": text for key, text in meanings("webhooks.md", "Registering an endpoint").items()}
    return {
        "queue-file.schema.json": {
            **_schema(
                TypeAdapter(list[QueueEntry]),
                "Queue file of provider-gateway (docs/settings.md)",
                queue_file,
                {"QueueEntry": "", "ModelEntry": "model."},
            ),
            "minItems": 1,
        },
        "access-file.schema.json": _schema(
            TypeAdapter(list[AccessRule]),
            "Access file of provider-gateway (docs/security.md)",
            access_file,
            {"AccessRule": "", "WebhookEntry": "webhooks."},
        ),
    }


def main() -> None:
    """Write the files."""
    (folder,) = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in file_schemas().items():
        (folder / name).write_text(text_of(schema), encoding="utf-8")


def text_of(schema: dict[str, Any]) -> str:
    """A schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()

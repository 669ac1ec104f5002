"""What JSON Schemas of the user's files say that pydantic cannot see: the checks that are functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler


@dataclass(frozen=True, slots=True, eq=False)  # annotations have to be hashable
class SchemaDetails:
    """Adds to the JSON Schema of an annotated type. Validation is not changed.

    Args:
        details: keywords and their values, or a function from the schema so far to another one.
    """

    details: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema with the details."""
        found = handler.resolve_ref_schema(handler(schema))
        return self.details(found) if callable(self.details) else {**found, **self.details}


@dataclass(frozen=True, slots=True, eq=False)  # annotations have to be hashable
class SchemaInstead:
    """Replaces the JSON Schema of an annotated type, which is a class of ours.

    Args:
        schema: of what stands in the file.
    """

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema."""
        return self.schema


class OneOrMore:
    """Annotates a list: the file may have one text alone in its place."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Read a text as a list of one."""
        return core_schema.no_info_before_validator_function(
            lambda value: [value] if isinstance(value, str) else value, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of an element, or of the list."""
        found = handler(schema)
        return {"anyOf": [found["items"], found]}


def any_case(words: Iterable[str]) -> str:
    """A pattern of one of these words in any case: JSON Schema's patterns have no flag for that."""
    spelled = ("".join(_letter(each) for each in word) for word in words)
    return f"(?:{'|'.join(spelled)})"


def _letter(letter: str) -> str:
    if letter.isalpha():
        return f"[{letter.upper()}{letter.lower()}]"
    return letter if letter.isalnum() or letter == "-" else f"\\{letter}"


def no_controls(at_most: int | None = None) -> dict[str, Any]:
    """The schema of a text without control characters.

    Args:
        at_most: characters; the limit is in bytes, and a schema counts no bytes.
    """
    size = {} if at_most is None else {"maxLength": at_most}
    return {"pattern": r"^[^\x00-\x1f\x7f]*$", **size}


def needs(condition: dict[str, Any], consequence: dict[str, Any]) -> dict[str, Any]:
    """A schema that holds unless the condition does and the consequence does not."""
    return {"if": condition, "then": consequence}


def given(name: str, schema: dict[str, Any] | bool = True) -> dict[str, Any]:
    """The schema of a mapping that has a key.

    Args:
        schema: of its value.
    """
    return {"properties": {name: schema}, "required": [name]}

"""Reads and validates the user's YAML files. Every error is one line with the file's name and the place."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_T = TypeVar("_T")


class StrictModel(BaseModel):
    """An entry of a file. Keys are in camel case; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


#: The tag of a plain ``<<`` (YAML 1.1, "Merge Key").
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Raises an error for a key that stands twice in a mapping, where PyYAML takes the last one, and merges mappings.

    Merge keys are resolved here, because PyYAML's versions differ: 6.0.4 takes the wrong one of two values.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Check a mapping as it is written, then merge others into it (yaml.composer.Composer)."""
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _problem(f"the key {key.value!r} stands twice", key)
                seen.add(key.value)
        node.value = _merged(node)
        return node


def _problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)


def _merged(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """The keys and values of a mapping, with those of the mappings that its merge key names.

    The mapping's own keys win; then those of the first mapping that has them.
    """
    own = [pair for pair in node.value if pair[0].tag != _MERGE]
    taken = {(key.tag, key.value) for key, _ in own if isinstance(key, yaml.ScalarNode)}
    merged = []
    for source in (each for key, value in node.value if key.tag == _MERGE for each in _sources(value, node)):
        for key, value in source.value:
            # Other keys than scalars are refused later, as PyYAML cannot hash them.
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in taken:
                    continue
                taken.add((key.tag, key.value))
            merged.append((key, value))
    return merged + own


def _sources(value: yaml.Node, into: yaml.MappingNode) -> list[yaml.MappingNode]:
    """The mappings that a merge key names."""
    sources: list[Any] = value.value if isinstance(value, yaml.SequenceNode) else [value]
    for each in sources:
        if not isinstance(each, yaml.MappingNode):
            raise _problem("expected a mapping or a list of mappings to merge (<<)", each)
        if each is into or each.end_mark is None:  # without end mark: the parser has not seen its end
            raise _problem("a mapping cannot be merged into itself", value)
    return sources


#: What an error says about a key or a variable that is missing.
MISSING = "is required and missing"
_INSTANCE = re.compile(r" or instance of \w+")
_DESCRIPTIONS = {
    "missing": MISSING,
    "extra_forbidden": "unknown key",
}
#: What the file has in place of a list, for errors; of another type is a text, a number or a time.
_FOUND: dict[type, str] = {type(None): "nothing", dict: "a mapping"}


def describe(error: ErrorDetails) -> str:
    """What pydantic expected and found, in one line, without pydantic's URL.

    Args:
        error: one of ``ValidationError.errors()``.
    """
    kind, found = error["type"], error["input"]
    if kind in ("too_short", "string_too_short"):
        return "expected text that is not empty" if isinstance(found, str) else "expected at least one entry"
    if kind in _DESCRIPTIONS:
        return _DESCRIPTIONS[kind]
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    # Python's words for what the user writes as a list or a mapping.
    text = _INSTANCE.sub("", text.replace("a valid tuple", "a list"))
    if kind == "string_pattern_mismatch":
        text = f"text like {error['ctx']['pattern']}"
    shown = ""
    if isinstance(found, str | int | float | bool):
        # Python raises ValueError instead of writing a number of thousands of digits.
        with contextlib.suppress(ValueError):
            shown = f", found {found!r}"
    return f"expected {text}{shown}" if kind != "value_error" else text


def _dotted(key: str) -> str:
    return f".{key}" if key.replace("-", "").isidentifier() else f".{key!r}"


def _path(place: tuple[int | str, ...]) -> str:
    """The path of a key in the file: ``[0].model.url``."""
    return "".join(f"[{part}]" if isinstance(part, int) else _dotted(part) for part in place).lstrip(".")


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Args:
        what: what the file is to be read as, for errors.

    Raises:
        SettingsError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        msg = f"{path}: cannot be read as {what}: {reason}"
        raise SettingsError(msg) from None


def parse_entries(text: str, source: str, what: str, adapter: TypeAdapter[_T], *, keys: str = "docs/settings.md") -> _T:
    """Read the text of a file that is a list.

    Args:
        text: YAML.
        source: name of the file, for errors.
        what: what the entries are, for errors.
        adapter: pydantic's adapter of the whole list.
        keys: the document that lists the keys, for errors.

    Raises:
        SettingsError: the text is not YAML, a key is unknown, repeated or missing, or a value is out of range. The
            error names the path of the key.
    """
    try:
        data: Any = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        msg = f"{source}:{where} expected YAML, {problem}"
        raise SettingsError(msg) from None
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML passes on the errors of impossible dates and of too deep nesting.
        msg = f"{source}: expected YAML: {error}"
        raise SettingsError(msg) from None
    if not isinstance(data, list):
        msg = f"{source}: expected a list of {what}, found {_FOUND.get(type(data), 'a single value')}"
        raise SettingsError(msg)
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        # Leave out errors of a list whose entry has an error: pydantic reports both, and the entry's is the cause.
        found = error.errors()
        errors = [
            each
            for each in found
            if not any(
                len(other["loc"]) > len(each["loc"]) and other["loc"][: len(each["loc"])] == each["loc"]
                for other in found
            )
        ]
        # An unknown key may be why another one is missing, so all of them come first.
        unknown = [each for each in errors if each["type"] == "extra_forbidden"]
        first, told = (unknown or errors)[0], len(unknown) or 1
        more = f" (and {len(errors) - told} more)" if len(errors) > told else ""
        if told > 1:
            names = ", ".join(_path(each["loc"]) for each in unknown)
            msg = f"{source}: unknown keys: {names}; {keys} lists the file's keys{more}"
        else:
            listed = f"; {keys} lists the file's keys" if unknown else ""
            msg = f"{source}: {_path(first['loc']) or 'the file'}: {describe(first)}{listed}{more}"
        raise SettingsError(msg) from None

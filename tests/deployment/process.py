"""A stand-in for ``oc process``, which needs a cluster: it puts parameters into a template and returns the objects.

Source: OpenShift's documentation, "Using templates". ``${NAME}`` anywhere in a text becomes the value. ``${{NAME}}`` as
a whole text becomes the value read as JSON (a number, true, a list). Parameters may have defaults, be required, or be
generated.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
import string
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_]+)\}")
_WHOLE = re.compile(r"^\$\{\{([a-zA-Z0-9_]+)\}\}$")
_GENERATED = re.compile(r"\[(?P<letters>[^\]]+)\]\{(?P<count>\d+)\}")
_RANGES = {r"\w": string.ascii_letters + string.digits + "_", r"\d": string.digits, r"\a": string.ascii_letters}


class ProcessError(Exception):
    """The template cannot be processed with these parameters; the message says which one is wrong."""


def read_parameters(text: str) -> dict[str, str]:
    """The values of a parameter file: NAME=value lines, comments, empty lines.

    Raises:
        ProcessError: a line is malformed, a name is repeated, or readers of such files would read a value differently.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)=([^\s\"'#$\\]*)", line)
        if found is None:
            msg = f"line {number}: expected NAME=value, without quotes, spaces, # or $"
            raise ProcessError(msg)
        if found[1] in values:
            msg = f"line {number}: {found[1]} again"
            raise ProcessError(msg)
        values[found[1]] = found[2]
    return values


def process(template: Mapping[str, Any], given: Mapping[str, str], *, ignore_unknown: bool = False) -> dict[str, Any]:
    """The list of objects that a template creates.

    Args:
        given: values of parameters.
        ignore_unknown: ``--ignore-unknown-parameters``.

    Raises:
        ProcessError: a required parameter has no value, or an unknown one was given.
    """
    declared = {each["name"]: each for each in template.get("parameters", [])}
    unknown = [name for name in given if name not in declared]
    if unknown and not ignore_unknown:
        msg = f"unknown parameter name {unknown[0]!r}"
        raise ProcessError(msg)
    values = {name: _value(each, given.get(name)) for name, each in declared.items()}
    objects = [_replaced(copy.deepcopy(each), values) for each in template["objects"]]
    labels = _replaced(dict(template.get("labels", {})), values)
    for each in objects:
        if labels:
            each["metadata"].setdefault("labels", {}).update(labels)
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def references(template: Mapping[str, Any]) -> set[str]:
    """The names of the parameters that a template's objects use."""
    text = json.dumps([template["objects"], template.get("labels", {})])
    return set(re.findall(r"\$\{\{?([^{}]*)\}", text))


def _value(parameter: Mapping[str, Any], given: str | None) -> str:
    value = given if given is not None else parameter.get("value", "")
    if not value and parameter.get("generate") == "expression":
        value = _generate(parameter["from"])
    if not value and parameter.get("required"):
        msg = f"template.parameters: required value: {parameter['name']} must be specified"
        raise ProcessError(msg)
    return str(value)


def _generate(expression: str) -> str:
    def choose(found: re.Match[str]) -> str:
        letters = found["letters"]
        for short, long in _RANGES.items():
            letters = letters.replace(short, long)
        letters = re.sub(r"(\w)-(\w)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), letters)
        return "".join(secrets.choice(letters) for _ in range(int(found["count"])))

    return _GENERATED.sub(choose, expression)


def _replaced(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {_text(key, values): _replaced(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, values) for each in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.match(value)
    if whole is None or whole[1] not in values:
        return _text(value, values)
    try:
        return json.loads(values[whole[1]])
    except ValueError:
        return values[whole[1]]


def _text(text: str, values: Mapping[str, str]) -> str:
    # An unknown reference is unchanged.
    return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), text)

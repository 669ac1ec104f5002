"""Checks objects against the schemas of their kinds: those of kubernetes-validate, and ours for other kinds."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

SCHEMAS = Path(__file__).with_name("schemas")
#: Kubernetes of the oldest supported OpenShift (4.16), and the newest Kubernetes that kubernetes-validate knows.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
#: Without a cache, kubernetes-validate reads its files, of several megabytes, for each object.
utils.schema_contents = cache(utils.schema_contents)


class InvalidObject(Exception):
    """An object that the cluster would reject; the message says where and why."""


@cache
def _validator(path: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def is_kubernetes(each: dict[str, Any]) -> bool:
    """True for kinds that every cluster knows; the others have our own schemas."""
    group = each["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and not group.startswith("gateway."))


def validate(each: dict[str, Any], source: str) -> None:
    """Check one object.

    Args:
        source: name of its file, for the message.

    Raises:
        InvalidObject: a field is unknown, missing or wrong, or the kind is not known.
    """
    name = f"{source}: {each.get('kind')}"
    try:
        if is_kubernetes(each):
            for version in VERSIONS:
                utils.validate(each, version, strict=True)
        else:
            _validator(SCHEMAS / f"{each['kind'].lower()}.json").validate(each)
    except jsonschema.ValidationError as error:
        msg = f"{name}: {error.json_path}: {error.message}"
        raise InvalidObject(msg) from None
    except (utils.SchemaNotFoundError, FileNotFoundError, KeyError) as error:
        msg = f"{name}: no schema: {error}"
        raise InvalidObject(msg) from None

"""Checks objects against the schemas of their kinds: kubernetes-validate's, and ours for those it does not know."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

SCHEMAS = Path(__file__).with_name("schemas")
#: Of the oldest OpenShift that the manifests are for (4.16), and the newest Kubernetes that is known.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
#: It reads its files, of megabytes, for each object anew.
utils.schema_contents = cache(utils.schema_contents)


class InvalidObject(Exception):
    """An object that the cluster would refuse; says where and why."""


@cache
def _validator(path: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def is_kubernetes(each: dict[str, Any]) -> bool:
    """True for what every cluster knows; the rest has a schema of ours."""
    group = each["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def validate(each: dict[str, Any], source: str) -> None:
    """Check one object.

    Args:
        source: where it comes from, for the message.

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

"""Paths of the HTTPS listener that an entry of the queue file adds, as more names of ``/v1/predict``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from provider_gateway.config.schema_details import SchemaDetails

#: Segments of unreserved characters and sub-delimiters (RFC 3986, 3.3). Paths are compared byte by byte, so nothing may
#: have two spellings: no percent-encoding.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_MAX_BYTES = 1024
#: Paths of the listener itself.
_OURS = frozenset({"/docs", "/health", "/openapi.json", "/v1/models", "/v1/predict", "/v1/publish"})
#: Paths of the listener itself, with everything below them.
_TREES = ("/v1/parking", "/v1/requests", "/v2", "/workbench")


def _check_path(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not _PATH.fullmatch(value) or len(value) > _MAX_BYTES:
        msg = (
            "expected a path such as /v1/fraud/predict, of letters, digits and -._~!$&'()*+,;=:@ between single "
            f"slashes, without a slash at its end, query and percent-encoding, found {value[:80]!r}"
        )
        raise ValueError(msg)
    if {".", ".."} & set(value.split("/")):
        msg = f"expected a path without the segments . and .., found {value[:80]!r}"
        raise ValueError(msg)
    if value in _OURS or any(value == tree or value.startswith(f"{tree}/") for tree in _TREES):
        msg = f"expected another path than the gateway's own, found {value[:80]!r}"
        raise ValueError(msg)
    return value


_OF_OURS = "|".join([*map(re.escape, sorted(_OURS)), *(rf"{re.escape(tree)}(?:/.*)?" for tree in _TREES)])
RequestPath = Annotated[
    str,
    BeforeValidator(_check_path),
    SchemaDetails(
        {
            "pattern": f"^{_PATH.pattern}$",
            "maxLength": _MAX_BYTES,
            "not": {"pattern": rf"^(?:{_OF_OURS})$|/\.\.?(?:/|$)"},
        }
    ),
]

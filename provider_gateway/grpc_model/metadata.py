"""Headers as gRPC's metadata, and back.

Pure. Metadata has lower-case names and values in printable ASCII. Names that begin with ``grpc-`` are gRPC's own, and
values of names that end with ``-bin`` are base64.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from provider_gateway.message.http_headers import headers_from_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAME = re.compile(r"[a-z0-9_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
#: Names that gRPC sends itself, or that say something about a body in HTTP.
_NOT_SENT = frozenset({"accept", "content-type", "content-encoding", "user-agent", "inference-header-content-length"})

Metadata = tuple[tuple[str, str], ...]


def to_metadata(headers: Mapping[str, str], on_unsafe: Callable[[], object]) -> Metadata:
    """The metadata for headers.

    Args:
        headers: names and values as they are sent over HTTP.
        on_unsafe: called for each one that metadata cannot hold. It is left out.
    """
    found: dict[str, str] = {}
    for given, value in headers.items():
        name = _name(given)
        if name == "":
            continue
        if name is None or not _VALUE.fullmatch(value):
            on_unsafe()
        else:
            found[name] = value.strip(" ")
    return tuple(found.items())


@lru_cache(1024)  # names are few and repeat
def _name(given: str) -> str | None:
    """The name in metadata; empty if the header is not sent, None if metadata has no such name."""
    name = given.lower()
    if name in _NOT_SENT or name.startswith("grpc-") or name.endswith("-bin"):
        return ""
    return name if _NAME.fullmatch(name) else None


def from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The message headers for the metadata of an answer.

    Raises:
        HeadersTooLarge: they may not fit a frame.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in metadata:
        if isinstance(value, str) and not name.startswith("grpc-"):
            values.setdefault(name.encode(), []).append(value.encode())
    return headers_from_http(values.items())

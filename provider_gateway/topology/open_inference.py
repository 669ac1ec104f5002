"""The models that callers reach by the Open Inference Protocol, and the paths at which they do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.config.queue_file import QueueEntry

#: The versions of every model. The queue file tells none apart; clients that insist on one take the first.
VERSIONS = ("1",)


def open_models(entries: Iterable[QueueEntry]) -> dict[str, QueueEntry]:
    """The entries with ``openInference``, by the name of their model."""
    return {
        entry.model.name: entry
        for entry in entries
        if entry.open_inference and entry.model is not None and entry.model.name is not None
    }


def infer_path(name: str, version: str | None) -> bytes:
    """The path of a model's requests, in the spelling that clients use."""
    below = "" if version is None else f"/versions/{version}"
    return f"/v2/models/{quote(name, safe='')}{below}/infer".encode()


def infer_keys(entries: Iterable[QueueEntry]) -> dict[bytes, str]:
    """The routing keys of the requests for models, by path."""
    return {
        infer_path(name, version): entry.path_key
        for name, entry in open_models(entries).items()
        if entry.path_key is not None
        for version in (None, *VERSIONS)
    }

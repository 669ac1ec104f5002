"""The paths of the Open Inference Protocol over HTTP, below the URL of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from provider_gateway.config.masked_url import MaskedURL

if TYPE_CHECKING:
    from collections.abc import Sequence


def infer_url(base: MaskedURL, name: str, version: str = "") -> MaskedURL:
    """The URL for inference requests to a model.

    Args:
        base: the URL of the server. A path in it stays before ours, and a query behind it.
        name: of the model.
        version: of the model; empty to leave the choice to the server.
    """
    return _url(base, name, version, "infer")


def model_ready_url(base: MaskedURL, name: str, version: str = "") -> MaskedURL:
    """The URL that says whether a model is ready, with the arguments of :func:`infer_url`."""
    return _url(base, name, version, "ready")


def _url(base: MaskedURL, name: str, version: str, last: str) -> MaskedURL:
    before, mark, query = base.reveal().partition("?")
    parts: Sequence[str] = ["v2", "models", name, *(("versions", version) if version else ()), last]
    return MaskedURL("/".join([before.rstrip("/"), *(quote(part, safe="") for part in parts)]) + mark + query)

"""The paths of the Open Inference Protocol over HTTP, below the URL of a server."""

from __future__ import annotations

from urllib.parse import quote

from provider_gateway.config.masked_url import MaskedURL


def infer_url(base: MaskedURL, name: str) -> MaskedURL:
    """The URL for inference requests to a model.

    Args:
        base: the URL of the server. A path in it stays before ours, and a query behind it.
        name: of the model.
    """
    return _url(base, name, "infer")


def model_ready_url(base: MaskedURL, name: str) -> MaskedURL:
    """The URL that says whether a model is ready, with the arguments of :func:`infer_url`."""
    return _url(base, name, "ready")


def _url(base: MaskedURL, name: str, last: str) -> MaskedURL:
    before, mark, query = base.reveal().partition("?")
    return MaskedURL(f"{before.rstrip('/')}/v2/models/{quote(name, safe='')}/{last}{mark}{query}")

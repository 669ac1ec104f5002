"""Refuses requests that pages of other origins make: a browser shows its client certificate without asking (CSRF)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import UnsupportedMediaType
from provider_gateway.workbench.errors import CrossSite

if TYPE_CHECKING:
    from collections.abc import Sequence

_READS = frozenset({b"GET", b"HEAD"})
_DEFAULT_PORTS = {b"https": b":443", b"http": b":80"}
#: What a browser says of requests of the page itself, and of addresses that somebody has typed in.
_OWN: tuple[list[bytes], ...] = ([], [b"same-origin"], [b"none"])


def check_own_origin(request: Any) -> None:
    """Check that no page of another origin has made a request.

    Clients other than browsers send none of these headers. Links of other sites may lead here: to follow one changes
    nothing.

    Raises:
        CrossSite: the headers that browsers add say so.
    """
    sites = _values(request, b"Sec-Fetch-Site")
    if request.method in _READS:
        if sites in _OWN or _values(request, b"Sec-Fetch-Mode") == [b"navigate"]:
            return
    elif sites in _OWN and _is_own(_values(request, b"Origin"), sites, request):
        return
    msg = "The request comes from a page of another origin. It has to come from a page of this one, or from no page."
    raise CrossSite(msg)


def check_json(request: Any) -> None:
    """Check that the body is declared as JSON: a form of another origin's page cannot declare that.

    Raises:
        UnsupportedMediaType: it is not.
    """
    types = _values(request, b"Content-Type")
    if len(types) != 1 or types[0].partition(b";")[0].strip().lower() != b"application/json":
        msg = "Expected Content-Type: application/json."
        raise UnsupportedMediaType(msg, {"Accept": "application/json"})


def _is_own(origins: Sequence[bytes], sites: Sequence[bytes], request: Any) -> bool:
    if not origins:
        return True
    if list(origins) == [b"null"]:
        # A page that sends no Referer has its forms sent without their origin (Fetch standard, 3.2). No page can set
        # Sec-Fetch-Site.
        return list(sites) == [b"same-origin"]
    scheme = b"https" if request.isSecure() else b"http"
    (host, *_) = [*_values(request, b"Host"), b""]
    default = _DEFAULT_PORTS[scheme]
    own = scheme + b"://" + host.lower().removesuffix(default)
    return len(origins) == 1 and origins[0].lower().removesuffix(default) == own


def _values(request: Any, name: bytes) -> list[bytes]:
    return list(request.requestHeaders.getRawHeaders(name, ()))

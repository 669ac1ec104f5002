"""``GET /openapi.json`` and ``GET /docs``: the documentation of the API, with what the caller may use."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.gateway.api_document import HTML, api_document
from provider_gateway.message.http_headers import JSON
from provider_gateway.openapi.cached_document import CachedDocument
from provider_gateway.openapi.page import page_of
from provider_gateway.openapi.page_style import PAGE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider_gateway.gateway.admission import Admission
    from provider_gateway.gateway.offer import Offer
    from provider_gateway.openapi.document import Route
    from provider_gateway.workbench.access import Rights

#: Documents that are kept: callers have few different rights.
_KEPT = 32
#: RFC 8631: a description for programs, and one for people.
_LINKS = '</openapi.json>; rel="service-desc", </docs>; rel="service-doc"'


class Documentation:
    """Makes the document for a caller, and answers with it.

    A document has the models that the access file lets its caller use, as ``GET /v1/models`` has. Nothing is counted
    for a rate.

    Args:
        routes: of the API.
        offer: what a caller is told of who may use everything.
        admission: knows who may use which routing key.
        parking: knows what the sender of a request may do with parked messages.
    """

    def __init__(
        self, routes: Sequence[Route], offer: Offer, admission: Admission, parking: Callable[[Any], Rights]
    ) -> None:
        self._routes = routes
        self._offer = offer
        self._admission = admission
        self._parking = parking
        self._document = lru_cache(_KEPT)(self._make_document)
        self._page = lru_cache(_KEPT)(self._make_page)

    def document(self, request: Any) -> bytes:
        """Answer with the OpenAPI document.

        Raises:
            BadRequest: the RqUID is malformed.
            Unavailable: the process drains, or too many requests are in flight.
        """
        return self._document(*self._rights(request)).answer(request)

    def page(self, request: Any) -> bytes:
        """Answer with the page that shows the document.

        Raises:
            GatewayError: as for :meth:`document`.
        """
        made = self._page(*self._rights(request))
        for name, value in PAGE_HEADERS.items():
            request.setHeader(name, value)
        return made.answer(request)

    def home(self, request: Any) -> bytes:
        """Send a browser to the page, and tell a program where the document is.

        Raises:
            GatewayError: as for :meth:`document`.
        """
        self._rights(request)
        request.setResponseCode(302)
        request.setHeader("Location", "/docs")
        request.setHeader("Link", _LINKS)
        request.setHeader("Content-Length", "0")
        return b""

    def _rights(self, request: Any) -> tuple[tuple[int, ...], tuple[str, ...], Rights]:
        """What a caller may use: numbers of entries, names of webhook endpoints, and rights on parked messages."""
        self._admission.enter(request)
        try:
            entries = enumerate(self._offer.entries)
            usable = tuple(number for number, entry in entries if self._admission.may_use_any(request, entry))
            return usable, self._admission.endpoint_names(request), self._parking(request)
        finally:
            self._admission.in_flight -= 1

    def _decoded(self, usable: tuple[int, ...], webhooks: tuple[str, ...], parking: Rights) -> dict[str, Any]:
        entries = tuple(self._offer.entries[number] for number in usable)
        return api_document(self._routes, replace(self._offer, entries=entries, webhooks=webhooks, parking=parking))

    def _make_document(self, usable: tuple[int, ...], webhooks: tuple[str, ...], parking: Rights) -> CachedDocument:
        return CachedDocument(JSON, json.dumps(self._decoded(usable, webhooks, parking)).encode())

    def _make_page(self, usable: tuple[int, ...], webhooks: tuple[str, ...], parking: Rights) -> CachedDocument:
        return CachedDocument(HTML, page_of(self._decoded(usable, webhooks, parking)).encode())

"""The origins whose pages may call the API from a browser (CORS: Fetch standard, 3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider_gateway.message.http_headers import JSON_SIZE, text_of
from provider_gateway.message.ids import RQUID

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Headers that a browser may send across origins, and those of a response that it may show to the page.
_REQUEST_HEADERS = (
    f"Content-Type, Content-Encoding, {JSON_SIZE}, routing-key, {RQUID}, Prefer, Idempotency-Key, Webhook"
)
_RESPONSE_HEADERS = f"{RQUID}, {JSON_SIZE}, Location, Retry-After, Preference-Applied, Idempotent-Replayed"
#: No white space and no controls: the value is written into the response.
_ORIGIN = re.compile(r"[\x21-\x7e]+")


class Origins:
    """The origins that may call.

    Args:
        allowed: them; ``*`` is any origin.

    Attributes:
        are_allowed: False if none is.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)
        self.are_allowed = bool(allowed)

    def allow(self, request: Any) -> bool:
        """Set the CORS headers of the response; False if the origin is not allowed, or not given."""
        if not self.are_allowed:
            return False
        request.setHeader("Vary", "Origin")
        origin = text_of(request.requestHeaders.getRawHeaders(b"Origin", [b""])[0])
        if not _ORIGIN.fullmatch(origin) or not self._allowed & {origin, "*"}:
            return False
        request.setHeader("Access-Control-Allow-Origin", origin)
        request.setHeader("Access-Control-Expose-Headers", _RESPONSE_HEADERS)
        return True

    def preflight(self, request: Any, methods: str) -> bytes:
        """Answer OPTIONS: list the methods of a path, and let a browser of an allowed origin call it.

        Args:
            methods: other than OPTIONS, in the form of ``Allow``.
        """
        if self.allow(request):
            request.setHeader("Access-Control-Allow-Methods", methods)
            request.setHeader("Access-Control-Allow-Headers", _REQUEST_HEADERS)
        request.setHeader("Allow", ", ".join(sorted([*methods.split(", "), "OPTIONS"])))
        request.setResponseCode(204)
        return b""

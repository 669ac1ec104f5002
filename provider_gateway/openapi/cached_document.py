"""A document that callers may keep: it is sent with an ``ETag``, and not again to those who have it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import list_members, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class CachedDocument:
    """A document with its version.

    Args:
        content_type: of the body.
    """

    def __init__(self, content_type: str, body: bytes) -> None:
        self._content_type = content_type
        self._body = body
        self._etag = f'"{sha256(body).hexdigest()[:32]}"'

    def answer(self, request: Any) -> bytes:
        """Set status and headers of a response, and return its body; it has none if the caller has this version."""
        request.setHeader("ETag", self._etag)
        request.setHeader("Cache-Control", "private, no-cache")
        if self._is_known(request.requestHeaders.getRawHeaders(b"If-None-Match", ())):
            request.setResponseCode(304)
            return b""
        return with_length(request, self._content_type, self._body)

    def _is_known(self, values: Iterable[bytes]) -> bool:
        """Compare ``If-None-Match`` with the version, weakly (RFC 9110, 13.1.2)."""
        tags = [tag for value in values for tag in list_members(text_of(value))]
        return tags == ["*"] or self._etag in (tag.removeprefix("W/") for tag in tags)

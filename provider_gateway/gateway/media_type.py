"""Checks that a request declares its body as plain JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider_gateway.content_codings import codings_of
from provider_gateway.errors import UnsupportedMediaType
from provider_gateway.message.http_headers import JSON, text_of

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

_JSON = [JSON.encode()]
#: A parameter (RFC 9110, 5.6.6), or what stands in the place of one. In a quoted value a semicolon ends nothing.
_PARAMETER = re.compile(r""";\s*(?:([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*))?[^;]*""")
#: JSON is UTF-8 (RFC 8259, 8.1), and US-ASCII is a part of it. Other spellings are common, and nothing else is meant.
_UTF_8 = frozenset({"utf-8", "utf8", "utf_8", "us-ascii", "ascii", ""})


def check_media_type(request: IRequest) -> None:
    """Check that the body is declared as plain JSON.

    Raises:
        UnsupportedMediaType: the body has another type or charset, or a content coding.
    """
    sent = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])
    if sent != _JSON:  # nearly every caller writes it this way
        for value in sent:
            _check_content_type(text_of(value))
    values = request.requestHeaders.getRawHeaders(b"Content-Encoding")
    if values is not None and (codings := codings_of(text_of(b",".join(values)))):
        msg = f"Content-Encoding {', '.join(codings)!r} is not supported; send the body as it is."
        raise UnsupportedMediaType(msg)


def _check_content_type(content_type: str) -> None:
    media_type, semicolon, rest = content_type.lower().partition(";")
    if media_type.strip() != JSON:
        msg = f"Expected Content-Type: {JSON}, found {content_type or 'none'!r}."
        raise UnsupportedMediaType(msg)
    for name, value in _PARAMETER.findall(semicolon + rest):
        if name == "charset" and value.strip().strip('"').strip() not in _UTF_8:
            msg = f"JSON is UTF-8 (RFC 8259), and {value.strip()} is not."
            raise UnsupportedMediaType(msg)

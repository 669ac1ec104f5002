"""Checks of a request's body: declared as JSON, valid JSON, not nested too deeply."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from provider_gateway.errors import InvalidJSON, UnsupportedMediaType
from provider_gateway.message.http_headers import JSON, text_of

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

_JSON = JSON.encode()
#: Checks the syntax without building objects.
_json = msgspec.json.Decoder(msgspec.Raw)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_TEXT = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_media_type(request: IRequest) -> None:
    """Check that the body is declared as plain JSON.

    Raises:
        UnsupportedMediaType: the body has another type or charset, or a content coding.
    """
    sent = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
    if sent != _JSON:  # nearly every caller writes it this way
        _check_content_type(text_of(sent))
    coding = text_of(request.requestHeaders.getRawHeaders(b"Content-Encoding", [b"identity"])[0])
    if coding.lower() != "identity":
        msg = f"Content-Encoding {coding!r} is not supported; send the body as it is."
        raise UnsupportedMediaType(msg)


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = [part.strip().lower() for part in content_type.split(";")]
    if media_type != JSON:
        msg = f"Expected Content-Type: {JSON}, found {content_type or 'none'!r}."
        raise UnsupportedMediaType(msg)
    if any(p.startswith("charset=") and p[8:].strip('"') != "utf-8" for p in parameters):
        msg = "JSON is UTF-8 (RFC 8259): no other charset is supported."
        raise UnsupportedMediaType(msg)


def check_json(body: bytes, max_depth: int) -> None:
    """Check that a body is one JSON value in UTF-8 (RFC 8259).

    Args:
        max_depth: allowed depth of nested arrays and objects.

    Raises:
        InvalidJSON: the body is not JSON, or is nested too deeply.
    """
    try:
        body.decode("utf-8")  # msgspec checks the encoding only of text that it builds
        _json.decode(body)
    except UnicodeDecodeError as error:
        msg = f"The body is not valid UTF-8 at byte {error.start}."
        raise InvalidJSON(msg) from None
    except RecursionError:
        depth = max_depth + 1
    except msgspec.DecodeError as error:
        raise InvalidJSON(f"{error}.") from None
    else:
        depth = _depth(body) if body.count(b"[") + body.count(b"{") > max_depth else 0
    if depth > max_depth:
        msg = f"The body is nested more than {max_depth} levels deep (MAX_JSON_DEPTH)."
        raise InvalidJSON(msg)


def _depth(body: bytes) -> int:
    """The nesting depth of valid JSON. Text values are removed first, so that every bracket left counts."""
    structure = body
    if b"\\" in body:
        structure = _ESCAPED.sub(b"", body)
    structure = _TEXT.sub(b"", structure.translate(None, _NOT_STRUCTURE))
    return max(accumulate(map(_STEP.__getitem__, structure)), default=0)

"""Which headers travel between HTTP and AMQP, and in which form.

Pure: no I/O, no clock. HTTP's side is bytes (RFC 9110), the message's side is text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import HeadersTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

JSON = "application/json"
#: Bytes of JSON before the bytes of tensors (binary tensor extension of the Open Inference Protocol).
JSON_SIZE = "Inference-Header-Content-Length"

#: Upper bound of the bytes of a message's text headers. They travel in one frame; RabbitMQ's default is 131,072 bytes.
MAX_HEADERS = 100_000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
#: A quoted string (RFC 9110, 5.6.4), a comma, or anything between them.
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"?|,|[^",]+', re.DOTALL)
_EVENT_STREAM = re.compile(r"text/event-stream[ \t]*(?:;|$)", re.IGNORECASE)
_UNSAFE_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5: no CR, LF, NUL; other controls neither

#: Never copied between HTTP and AMQP, either way (lower case).
_NOT_END_TO_END = frozenset(
    {
        # RFC 9110, 7.6.1: for this connection only
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "proxy-authenticate", "proxy-authorization", "expect",
        # belong to one hop's framing, coding or identity
        "host", "content-length", "content-encoding", "accept-encoding", "date", "server",
        # secrets of one hop
        "authorization", "cookie", "set-cookie", "x-forwarded-client-cert",
        # travel as a property, or are set by us
        "content-type", "rquid",
        # says how our own response comes about: a model that understands Prefer would answer 202
        "prefer", "webhook",
        # describes our own response
        "vary", "preference-applied", "idempotent-replayed",
        # interpreted by the broker
        "cc", "bcc", "x-death", "x-delivery-count", "x-acquired-count", "x-delay", "x-match",
    }
)  # fmt: skip
_NOT_END_TO_END_PREFIXES = ("pg-", "access-control-", "x-first-death-", "x-last-death-", "x-opt-")


@lru_cache(1024)  # header names are few and repeat; a miss costs 1 µs
def end_to_end(name: str) -> bool:
    """True if a header with this name travels from HTTP to AMQP and back."""
    lowered = name.lower()
    return lowered not in _NOT_END_TO_END and not lowered.startswith(_NOT_END_TO_END_PREFIXES)


def text_of(value: bytes) -> str:
    """An HTTP header value as text: UTF-8 if it is valid UTF-8, else Latin-1, which decodes any bytes."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def bytes_of(value: str) -> bytes:
    """The bytes of a header value of a message, which need not be UTF-8."""
    return value.encode("utf-8", "surrogateescape")


def _exactly(value: bytes) -> str:
    """A header value as text, from which :func:`bytes_of` makes the same bytes, whatever they are."""
    return value.decode("utf-8", "surrogateescape")


def list_members(value: str) -> list[str]:
    """The members of a header that is a list (RFC 9110, 5.6.1), without the empty ones.

    A comma in a quoted string separates nothing. A quoted string that does not end goes to the end of the value.
    """
    members = [""]
    for piece in _PIECES.findall(value):
        if piece == ",":
            members.append("")
        else:
            members[-1] += piece
    return [stripped for member in members if (stripped := member.strip(" \t"))]


def _put_accept(headers: dict[str, str], name: str, value: str) -> None:
    """Put an Accept header among the headers, without the media type of event streams; other ranges stay.

    A model that can stream would answer with a stream, and that would be relayed as the result.
    """
    if "event-stream" in value.lower():
        value = ", ".join(each for each in list_members(value) if not _EVENT_STREAM.match(each))
        if not value:
            headers.pop(name, None)
            return
    headers[name] = value


def headers_from_http(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> dict[str, str]:
    """The message headers for the HTTP headers of a request or response. Their bytes are not changed.

    Args:
        raw: names with all their values; several values are joined with ", " (RFC 9110, 5.3).

    Raises:
        HeadersTooLarge: a name is longer than AMQP's 255 bytes, or the headers together may not fit a frame.
    """
    headers: dict[str, str] = {}
    listed: set[str] = set()
    for raw_name, values in raw:
        name = _travelling(raw_name)
        if name is not None:
            headers[name] = _exactly(values[0] if len(values) == 1 else b", ".join(values))
        elif raw_name.lower() == b"connection":
            # RFC 9110, 7.6.1: Connection lists more headers that are for this connection only.
            listed |= {token.strip().lower() for value in values for token in text_of(value).split(",")}
    if "Accept" in headers:  # in this spelling, as the parser of requests writes names
        _put_accept(headers, "Accept", headers["Accept"])
    if listed:
        headers = {name: value for name, value in headers.items() if name.lower() not in listed}
    # For each header 6 bytes of lengths and type; for each character at most 4 bytes.
    size = 6 * len(headers) + 4 * (sum(map(len, headers)) + sum(map(len, headers.values())))
    if size > MAX_HEADERS:
        msg = "The headers are too large to travel in a message."
        raise HeadersTooLarge(msg)
    return headers


@lru_cache(1024)  # as above
def _travelling(raw_name: bytes) -> str | None:
    """The name of a header on a message; None if it does not travel.

    Raises:
        HeadersTooLarge: the name is longer than AMQP's 255 bytes.
    """
    name = text_of(raw_name)
    if not end_to_end(name):
        return None
    if len(name.encode()) > 255:
        msg = f"The header name {name[:40]}… is longer than 255 bytes."
        raise HeadersTooLarge(msg)
    return name


def headers_to_http(headers: Mapping[str, Any], on_unsafe: Callable[[], object] = lambda: None) -> dict[str, str]:
    """The HTTP headers for the headers of a message: those with text values, if they travel and are well formed.

    Left out: tables, numbers, names that are no tokens, values with control characters.

    Args:
        on_unsafe: called for each text header that is malformed.
    """
    sent: dict[str, str] = {}
    for name, value in headers.items():
        # Names that are not UTF-8 are bytes, and so are the values of byte arrays.
        if isinstance(name, str) and isinstance(value, str) and end_to_end(name):
            if not _is_token(name) or _UNSAFE_VALUE.search(value):
                on_unsafe()
            elif len(name) == 6 and name.lower() == "accept":
                _put_accept(sent, name, value)
            else:
                sent[name] = value
    return sent


@lru_cache(1024)  # as above
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def safe_content_type(content_type: str | None) -> str:
    """The content type if it fits an HTTP header and an AMQP property; JSON if it does not, or is missing."""
    if (
        isinstance(content_type, str)
        and 0 < len(content_type) <= 255
        and content_type.isascii()
        and not _UNSAFE_VALUE.search(content_type)
    ):
        return content_type
    return JSON

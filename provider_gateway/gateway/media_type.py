"""Which bodies a queue takes: reads a request's Content-Type and Content-Encoding, and compares them with its entry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.content_codings import canonical, codings_of
from provider_gateway.errors import BadRequest, UnsupportedMediaType
from provider_gateway.message.http_headers import JSON, JSON_SIZE, safe_content_type, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provider_gateway.config.queue_file import QueueEntry

_PLAIN = [JSON.encode()]
#: A body without Content-Type may be taken to be of this type (RFC 9110, 8.3).
UNKNOWN = "application/octet-stream"
_TOKEN = "[!#$%&'+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, 5.6.2, without the asterisk: that is a range
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")
#: A parameter (RFC 9110, 5.6.6), or what stands in the place of one. In a quoted value a semicolon ends nothing.
_PARAMETER = re.compile(r""";\s*(?:([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*))?[^;]*""")
_QUOTED_PAIR = re.compile(r"\\(.)")
#: JSON is UTF-8 (RFC 8259, 8.1), and US-ASCII is a part of it. Other spellings are common, and nothing else is meant.
_UTF_8 = frozenset({"utf-8", "utf8", "utf_8", "csutf8", "us-ascii", "ascii", ""})


class Declared(NamedTuple):
    """How a request declares its body.

    Attributes:
        content_type: as it is to travel.
        coding: content codings, as Content-Encoding has them; None if there are none.
        is_json: True if the body is to be JSON as it stands: it has no coding.
        json_size: bytes of the JSON that the body begins with; None if that is the whole body.
    """

    content_type: str
    coding: str | None
    is_json: bool
    json_size: int | None = None

    def json_of(self, body: bytes) -> bytes:
        """The part of a body that is to be JSON.

        Raises:
            BadRequest: the body is shorter.
        """
        size = self.json_size
        if size is None:
            return body
        if size > len(body):
            msg = f"{JSON_SIZE} is {size}, and the body has {len(body)} bytes."
            raise BadRequest(msg)
        return body[:size]


_PLAIN_JSON = Declared(JSON, None, is_json=True)


class AcceptedBodies:
    """The bodies that are accepted for one routing key.

    Args:
        entries: each of their queues gets a copy of the message, so each has to accept it. Without any, JSON is
            accepted.

    Attributes:
        codings: the content codings that all of them accept.
    """

    def __init__(self, entries: Sequence[QueueEntry]) -> None:
        self._types = [self._taken(entry) for entry in entries] or [(JSON,)]
        first, *others = [entry.accept_encoding for entry in entries] or [()]
        self.codings = tuple(each for each in first if all(each in other for other in others))
        self._takes_json = all(_includes(accept, JSON) for accept in self._types)

    def declared(self, headers: Mapping[bytes, Sequence[bytes]]) -> Declared:
        """Read how a request declares its body.

        Args:
            headers: values by canonical name.

        Raises:
            UnsupportedMediaType: type, charset or content coding are not accepted.
        """
        sent = headers.get(b"Content-Type", ())
        values = headers.get(b"Content-Encoding")
        if sent == _PLAIN and values is None and self._takes_json:  # nearly every caller writes it this way
            return _PLAIN_JSON
        # The same one twice is harmless.
        types = dict.fromkeys(map(self._content_type, map(text_of, sent or (b"",))))
        if len(types) > 1:
            msg = "There are several Content-Type headers; send one."
            raise self._unsupported(msg)
        (content_type,) = types
        coding = None if values is None else self._coding(text_of(b",".join(values)))
        return Declared(content_type, coding, is_json=coding is None and _is_json(_media_type(content_type)))

    def _taken(self, entry: QueueEntry) -> tuple[str, ...]:
        """The media types that an entry takes."""
        return entry.accept

    def _content_type(self, sent: str) -> str:
        """Check a Content-Type; returns it as it is to travel."""
        media_type = _media_type(sent)
        if not media_type and not sent.strip(" \t"):
            media_type = sent = UNKNOWN
        if not _MEDIA_TYPE.fullmatch(media_type) or not all(_includes(accept, media_type) for accept in self._types):
            found = "none" if sent is UNKNOWN else sent
            msg = f"Expected Content-Type: {self._list()}, found {found!r}."
            raise self._unsupported(msg)
        others = _check_charset(sent) if _is_json(media_type) else True
        is_safe = safe_content_type(sent) == sent
        if media_type == JSON and not (others and is_safe):
            return JSON
        if not is_safe:
            msg = f"The Content-Type has more than {SHORT_STRING_BYTES} characters, or others than ASCII's."
            raise self._unsupported(msg)
        return sent

    def _coding(self, sent: str) -> str | None:
        codings = codings_of(sent)
        if not codings:
            return None
        joined = ", ".join(codings)
        if len(joined) > SHORT_STRING_BYTES or any(canonical(each) not in self.codings for each in codings):
            instead = f", or with {' or '.join(self.codings)}" if self.codings else ""
            msg = f"Content-Encoding {joined[:SHORT_STRING_BYTES]!r} is not supported; send the body as it is{instead}."
            raise UnsupportedMediaType(msg, {"Accept-Encoding": ", ".join((*self.codings, "identity"))})
        return joined

    def _list(self) -> str:
        return " or ".join(self._accepted())

    def _accepted(self) -> Iterable[str]:
        ranges = dict.fromkeys(each for accept in self._types for each in accept)
        return [each for each in ranges if all(_includes(accept, each) for accept in self._types)] or ranges

    def _unsupported(self, detail: str) -> UnsupportedMediaType:
        return UnsupportedMediaType(detail, {"Accept": ", ".join(self._accepted())})


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip(" \t").lower()


def _is_json(media_type: str) -> bool:
    """True for JSON, and for types that are JSON by their suffix (RFC 6839, 3.1)."""
    return media_type == JSON or media_type.endswith("+json")


def _includes(accept: Sequence[str], media_type: str) -> bool:
    """True if one of the ranges includes a type, or a range. Where JSON is accepted, so is each type that is JSON."""
    return (
        media_type in accept
        or "*/*" in accept
        or f"{media_type.partition('/')[0]}/*" in accept
        or (JSON in accept and _is_json(media_type))
    )


def _check_charset(content_type: str) -> bool:
    """Check the charset of JSON.

    Returns:
        True if there are other parameters.

    Raises:
        UnsupportedMediaType: it is not UTF-8.
    """
    others = False
    _, semicolon, rest = content_type.partition(";")
    for name, value in _PARAMETER.findall(semicolon + rest):
        if name.lower() == "charset":
            charset = value.strip()
            if _QUOTED_PAIR.sub(r"\1", charset).strip('"').strip().lower() not in _UTF_8:
                msg = f"JSON is UTF-8 (RFC 8259), and {charset} is not."
                raise UnsupportedMediaType(msg, {"Accept": JSON})
        elif name:
            others = True
    return others

"""Content codings (RFC 9110, 8.4.1), such as gzip: which of them a body has, and which ones a caller accepts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_NO_WEIGHT = re.compile(r"\s*q\s*=\s*0(\.0{0,3})?\s*", re.IGNORECASE)
#: Names that stand for a coding (RFC 9110, 8.4.1).
_SAME = {"x-gzip": "gzip", "x-compress": "compress"}
#: What ``content_encoding`` of AMQP says of a body that has no coding: names of charsets, and MIME's transfer encodings
#: without a transformation (RFC 2045, 6.2). Spring AMQP and kombu write them into every message.
_PLAIN_IN_AMQP = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "7bit", "8bit", "binary"})
#: Names of no coding, and of any.
_NONE = frozenset({"identity", "*"})
#: Names that a content coding cannot have.
NO_CODINGS = _NONE | _PLAIN_IN_AMQP
#: IANA's registry.
_REGISTERED = frozenset({"*", "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "zstd"})
#: Of an Accept-Encoding with more characters, only registered codings are remembered while its caller waits.
_LONG = 200


def codings_of(value: str) -> list[str]:
    """The codings that Content-Encoding names, as they are spelled. ``identity`` and empty members name none.

    Args:
        value: the value of the header; several values joined with commas.
    """
    members = (member.strip(" \t") for member in value.split(","))
    return [member for member in members if member and member.lower() != "identity"]


def canonical(coding: str) -> str:
    """A coding in lower case, and by its usual name."""
    coding = coding.lower()
    return _SAME.get(coding, coding)


def is_coding(name: str) -> bool:
    """True if a name can be that of a content coding. A message's ``content_encoding`` may name what is none."""
    return name.lower() not in NO_CODINGS and _TOKEN.fullmatch(name) is not None


def asked_for(value: object) -> tuple[str, ...]:
    """The codings that a message asks for in its reply, in canonical form.

    Args:
        value: of the header ``pg-accept-encoding``: of any type, and with any content. What is no coding is left out,
            and so is ``*``. A value of more than 200 characters asks for none.
    """
    if not isinstance(value, str) or len(value) > _LONG:
        return ()
    codings = dict.fromkeys(map(canonical, codings_of(value)))
    return tuple(filter(is_coding, codings))


def coding_in_message(content_encoding: object, headers: Mapping[str, object]) -> str | None:
    """The codings of a message's body, in the form of Content-Encoding; None if it has none.

    Args:
        content_encoding: the AMQP property; None if there is none.
        headers: of the message. A header Content-Encoding counts without the property if it names registered codings:
            the two Go services, and programs written for them, have it there. Other values are no codings.

    Raises:
        ValueError: the property is not a list of tokens.
    """
    if content_encoding is None:
        for name in headers:
            if len(name) == 16 and name.lower() == "content-encoding":
                return _coding_in_header(headers[name])
        return None
    if isinstance(content_encoding, str):
        codings = [coding for coding in codings_of(content_encoding) if coding.lower() not in _PLAIN_IN_AMQP]
        if all(map(_TOKEN.fullmatch, codings)):
            return ", ".join(codings) or None
    msg = f"The message's content_encoding is no list of content codings: {ascii(content_encoding)[:60]}."
    raise ValueError(msg)


def _coding_in_header(value: object) -> str | None:
    codings = codings_of(value) if isinstance(value, str) else []
    if all(canonical(coding) in _REGISTERED - {"*"} for coding in codings):
        return ", ".join(codings) or None
    return None


def accepted_codings(values: Sequence[bytes] | None) -> frozenset[str] | None:
    """The codings that a caller accepts, by its Accept-Encoding; None if it accepts any.

    Args:
        values: of the header; None if it was not sent (RFC 9110, 12.5.3).
    """
    if values is None:
        return None
    accepted: set[str] = set()
    refused: set[str] = set()
    text = b",".join(values).decode("latin-1").lower()
    for member in text.split(","):
        name, _, weight = member.partition(";")
        coding = canonical(name.strip())
        (refused if _NO_WEIGHT.fullmatch(weight) else accepted).add(coding)
    if "*" in accepted:
        accepted |= _REGISTERED
        if not refused <= _REGISTERED:
            refused.add("*")  # which codings it stands for besides is not remembered
    if len(text) > _LONG:
        accepted &= _REGISTERED
    return frozenset(accepted - refused)


def are_accepted(coding: str, accepted: frozenset[str] | None) -> bool:
    """True if a caller accepts a body with these codings.

    Args:
        coding: from :func:`coding_in_message`.
        accepted: from :func:`accepted_codings`.
    """
    return accepted is None or all(_is_accepted(canonical(each), accepted) for each in codings_of(coding))


def _is_accepted(coding: str, accepted: frozenset[str]) -> bool:
    return coding in accepted or ("*" in accepted and coding not in _REGISTERED)

"""What a model says about its error: the beginning of a text or JSON body, safe for a log line, a header, a document.

Only bodies of failures and of 4xx are looked at, never those of results.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_plus, urlsplit

from provider_gateway.http_client.treq_post import CodedHeaders
from provider_gateway.message.http_headers import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.http_headers import Headers

    from provider_gateway.errors import ModelFailure

    Failure = TypeVar("Failure", bound=ModelFailure)

#: Bytes of an error that are told, in UTF-8.
MAX_BYTES = 1000
_TEXT_OR_JSON = re.compile(r"\s*(?:text/[^;\s]+|[^/;\s]+/(?:[^;\s]+\+)?json)\s*(?:;|$)", re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
#: Charsets that are text and quickly read. Others, and those that are not named, are read as UTF-8.
_KNOWN = re.compile(
    r"us-ascii|iso-8859-\d{1,2}|windows-125\d|utf-(?:16|32)(?:[lb]e)?|koi8-[ru]|shift_jis|euc-(?:jp|kr)|gbk|gb2312|gb18030|big5",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MASK = "***"
#: Shorter values of a query, such as a version, are no secrets: to mask them would make the text unreadable.
_SECRET_LENGTH = 8


def _decoded(content_type: str, body: bytes) -> str | None:
    """A body as text; None if it is neither text nor JSON. Bytes that are no text become replacement characters."""
    if not content_type:  # small servers send none (RFC 9110, 8.3: it may be examined)
        text = body.decode(errors="replace")
        return None if "\ufffd" in text.rstrip("\ufffd") or _CONTROL.search(text) else text
    if not _TEXT_OR_JSON.match(content_type):
        return None
    charset = _CHARSET.search(content_type)
    known = charset is not None and _KNOWN.fullmatch(charset[1])
    try:
        return body.decode(charset[1] if charset and known else "utf-8", errors="replace")
    except LookupError:  # such as iso-8859-99
        return body.decode(errors="replace")


def safe_text(text: str) -> str:
    """The first bytes of a text, each control character, line end and the like as a blank."""
    plain = "".join(each if each.isprintable() else " " for each in text[:MAX_BYTES]).strip()
    return plain.encode()[:MAX_BYTES].decode(errors="ignore")


def secrets_in(url: str) -> list[str]:
    """What is secret in the URL of a model: its query, and the values in it that are too long to be plain options."""
    query = urlsplit(url).query
    values = [value for pair in query.split("&") if len(value := pair.partition("=")[2]) >= _SECRET_LENGTH]
    return [query, *dict.fromkeys(form for value in values for form in (value, unquote_plus(value)))] if values else []


def _forms(secret: str) -> list[str]:
    """A secret as it stands, and as JSON writes it."""
    quoted = [json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)]
    return [secret, *quoted, *(each.replace("/", "\\/") for each in quoted)]


class ModelErrors:
    """Tells the errors of one model to those who may know them.

    Args:
        in_log: for the log and for parked messages.
        to_callers: for problem documents.
        secrets: what the model is sent and nobody else may see, in case it repeats it.
    """

    def __init__(self, *, in_log: bool = True, to_callers: bool = False, secrets: Sequence[str] = ()) -> None:
        self._in_log = in_log
        self._to_callers = to_callers
        self._secrets = sorted({form for each in secrets if each for form in _forms(each)}, key=len, reverse=True)

    def tell(self, failure: Failure, text: str) -> Failure:
        """Note what a model says about a failure; returns the failure.

        Args:
            text: from :meth:`of_response` or :meth:`of_text`.
        """
        if self._in_log:
            failure.model_error = text
        if self._to_callers and text:
            failure.members = {"model_error": text}
        return failure

    def for_log(self, text: str) -> str:
        """The text if it may be in the log, else none."""
        return text if self._in_log else ""

    def of_response(self, headers: Headers, body: bytes) -> str:
        """The text of a response that is no result; empty if its body is neither text nor JSON, or coded."""
        if not (self._in_log or self._to_callers) or not body:
            return ""
        if isinstance(headers, CodedHeaders) or any(
            value.strip().lower() not in (b"", b"identity") for value in headers.getRawHeaders(b"content-encoding", [])
        ):
            return ""
        content_type = text_of(headers.getRawHeaders(b"content-type", [b""])[0])
        # Secrets are looked for in all of it: the beginning of one must not be left over.
        text = _decoded(content_type, body if self._secrets else body[:MAX_BYTES])
        if text is None:
            return ""
        if len(body) > MAX_BYTES and not self._secrets:
            text = text.removesuffix("\ufffd")  # a character that is cut
        return self.of_text(text)

    def of_text(self, text: str) -> str:
        """The same of an error that is text already."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return safe_text(text)

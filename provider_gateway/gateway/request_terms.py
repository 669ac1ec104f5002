"""How a request to predict is to be served, by the headers ``Prefer``, ``Idempotency-Key`` and ``Webhook``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from provider_gateway.errors import BadRequest
from provider_gateway.gateway.preferences import Preferences, preferences
from provider_gateway.results.errors import NotConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFER, _KEY, _WEBHOOK = b"Prefer", b"Idempotency-Key", b"Webhook"
#: A request with none of these is served as if there were no result store.
SPECIAL = frozenset({_PREFER, _KEY, _WEBHOOK})

#: A string of structured fields (RFC 9651, 3.3.3), with the parameters that may follow it.
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"[ ]*(?:;[ ]*[a-z*][^,"]*(?:"[^"]*"[^,"]*)*)?')
#: Without quotes: no white space, and nothing that would separate it from something else.
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")
_LONGEST_KEY = 255


class RequestTerms(NamedTuple):
    """How a request is to be served.

    Attributes:
        preferences: what the caller prefers.
        key: its ``Idempotency-Key``; None without one.
        webhook: name of the endpoint that is to be told of the answer; None without one.
    """

    preferences: Preferences
    key: str | None
    webhook: str | None

    @property
    def has_deadline(self) -> bool:
        """True if the message is not to be started once the caller has got 504."""
        return not self.preferences.is_async and self.webhook is None

    def seconds(self, reply_timeout: float) -> float:
        """Seconds to wait for the answer."""
        if self.preferences.wait is not None:
            return min(self.preferences.wait, reply_timeout)
        return 0 if self.preferences.respond_async else reply_timeout


def request_terms(headers: Mapping[bytes, Sequence[bytes]], *, has_store: bool) -> RequestTerms | None:
    """The terms of a request; None if it is to be served as one without any of :data:`SPECIAL`.

    Args:
        headers: values by canonical name.
        has_store: False if no result store is configured: ``Prefer`` is ignored then, as RFC 7240 allows.

    Raises:
        BadRequest: ``Idempotency-Key`` is malformed, or one of the two was sent twice.
        NotConfigured: there is one, and no result store.
    """
    key, webhook = _only(headers, _KEY), _only(headers, _WEBHOOK)
    if not has_store:
        for name, value in ((_KEY, key), (_WEBHOOK, webhook)):
            if value is not None:
                msg = f"This gateway keeps no results (RESULT_STORE), so {name.decode()} cannot be honoured."
                raise NotConfigured(msg)
        return None
    terms = RequestTerms(
        preferences(headers.get(_PREFER, ())),
        None if key is None else _checked_key(key),
        webhook,
    )
    return terms if terms.preferences.is_async or terms.key is not None or terms.webhook is not None else None


def check_no_webhook(headers: Mapping[bytes, Sequence[bytes]]) -> None:
    """Check that a request which is only published names no endpoint: no answer of it is kept that could be told.

    Args:
        headers: values by canonical name.

    Raises:
        BadRequest: it does.
    """
    if _WEBHOOK in headers:
        msg = (
            "Webhooks belong to requests to /v1/predict with Prefer: respond-async. Send this one there, or leave its "
            "Webhook header out: no answer is kept of what is sent to /v1/publish."
        )
        raise BadRequest(msg)


def _only(headers: Mapping[bytes, Sequence[bytes]], name: bytes) -> str | None:
    """The value of a header that may be sent once, as Latin-1; None without it."""
    values = headers.get(name, ())
    if len(values) > 1:
        msg = f"There are several {name.decode()} headers; send one."
        raise BadRequest(msg)
    return values[0].decode("latin-1") if values else None


def _checked_key(value: str) -> str:
    """The key in an ``Idempotency-Key`` header (draft-ietf-httpapi-idempotency-key-header-07).

    Raises:
        BadRequest: it is neither a string of structured fields nor plain characters, or is empty or too long.
    """
    quoted = _STRING.fullmatch(value)
    if quoted is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(value):
        key = value
    else:
        msg = 'The Idempotency-Key is malformed; send a string in double quotes, such as "8e03978e-40d5-43dd".'
        raise BadRequest(msg)
    if not 1 <= len(key) <= _LONGEST_KEY:
        msg = f"The Idempotency-Key has {len(key)} characters; 1 to {_LONGEST_KEY} are allowed."
        raise BadRequest(msg)
    return key

"""``Idempotency-Key``: which requests are the same, and which of them may be published again.

Pure. IETF draft httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from provider_gateway.results.errors import IdempotencyKeyReused
from provider_gateway.store.records import Status

if TYPE_CHECKING:
    from provider_gateway.store.records import Record

#: Seconds after which a publish that is not known to be confirmed may be repeated by another request with its key.
ACCEPT_WITHIN = 30.0


class IdempotencyKey(NamedTuple):
    """An ``Idempotency-Key`` with what it was sent for.

    Attributes:
        digest: of owner, routing key and key.
        fingerprint: of media type, content coding and body.
    """

    digest: bytes
    fingerprint: bytes


def _digest(*parts: bytes) -> bytes:
    """A digest of several texts; their lengths are in it, so that no two lists of texts have the same one."""
    whole = sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8))
        whole.update(part)
    return whole.digest()


def idempotency_key(
    owner: str | None, routing_key: str, key: str, media_type: str, body: bytes, *, coding: str | None = None
) -> IdempotencyKey:
    """The values to keep of an ``Idempotency-Key``.

    Args:
        owner: the identity that sent it. The same key of another one is another key, and so it is for another
            routing key.
        key: without its quotes.
        media_type: of the body, with its parameters: a multipart body with another boundary is another one.
        coding: content codings of the body; None if it has none.
    """
    # An owner may be an empty text; None has no bytes at all, and a part less.
    scope = () if owner is None else (owner.encode("utf-8", "surrogateescape"),)
    texts = [each.encode("utf-8", "surrogateescape") for each in (routing_key, key)]
    # A part more with a coding: without one, the digests of earlier versions stay as they were.
    declared = [each.encode("utf-8", "surrogateescape") for each in (media_type, coding) if each is not None]
    return IdempotencyKey(_digest(*scope, *texts), _digest(*declared, body))


def check_same(holder: Record, fingerprint: bytes | None) -> None:
    """Check that a request is the one that holds its key.

    Raises:
        IdempotencyKeyReused: it has another body.
    """
    if holder.fingerprint != fingerprint:
        msg = (
            "The Idempotency-Key was sent before, with another body. Send the same body to get its answer, or a new "
            "key for a new request."
        )
        raise IdempotencyKeyReused(msg)


def is_accepted(record: Record) -> bool:
    """True if its caller may be told that there will be an answer: its publish is confirmed, or it is final."""
    return record.status.is_final or record.accept_by is None


def may_be_repeated(holder: Record, now: float) -> bool:
    """True if the publish of a record should have been confirmed long ago: its gateway has probably died."""
    return holder.status is Status.PENDING and holder.accept_by is not None and holder.accept_by <= now

"""What a gateway offers to a caller: models, webhooks, kept answers, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.workbench.access import Rights


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a caller is offered.

    Attributes:
        entries: of the queue file, those of which the caller may use some routing key.
        has_default_key: True if the queue file has a routing key for requests that name none.
        webhooks: names of the endpoints that the caller may have told.
        parking: what the caller may do with parked messages.
        has_access_file: False if every caller may use every routing key.
        has_store: True if answers are kept.
        has_tls: True if callers show a client certificate.
        reply_timeout: seconds that a caller waits.
        max_in_flight: requests served at a time.
        max_body_bytes: largest body.
        max_json_depth: nesting of arrays and objects in a body.
        max_headers: header lines of a request.
        max_header_bytes: bytes of these.
        result_ttl: seconds for which an answer is kept.
        idempotency_ttl: seconds for which an ``Idempotency-Key`` is remembered.
    """

    entries: tuple[QueueEntry, ...]
    has_default_key: bool
    webhooks: tuple[str, ...]
    parking: Rights
    has_access_file: bool
    has_store: bool
    has_tls: bool
    reply_timeout: float
    max_in_flight: int
    max_body_bytes: int
    max_json_depth: int
    max_headers: int
    max_header_bytes: int
    result_ttl: float
    idempotency_ttl: float

    @classmethod
    def of(
        cls, settings: Settings, entries: Sequence[QueueEntry], webhooks: tuple[str, ...] = (), parking: Rights = ()
    ) -> Offer:
        """What the settings offer to a caller who may use everything.

        Args:
            entries: all of the queue file.
        """
        return cls(
            entries=tuple(entries),
            has_default_key=any(entry.routing_key is not None for entry in entries),
            webhooks=webhooks,
            parking=parking,
            has_access_file=settings.http_access is not None,
            has_store=settings.result_store is not None,
            has_tls=settings.http_tls,
            reply_timeout=settings.reply_timeout,
            max_in_flight=settings.max_in_flight,
            max_body_bytes=settings.max_body_bytes,
            max_json_depth=settings.max_json_depth,
            max_headers=settings.http_max_headers,
            max_header_bytes=settings.http_max_header_bytes,
            result_ttl=settings.result_ttl,
            idempotency_ttl=settings.idempotency_ttl,
        )

    @property
    def accepted_types(self) -> tuple[str, ...]:
        """The media types that some entry accepts; JSON without entries."""
        return tuple(dict.fromkeys(each for entry in self.entries for each in entry.accept)) or (JSON,)

    @property
    def routing_keys(self) -> tuple[str, ...]:
        """A routing key of each entry that has a certain one."""
        return tuple(dict.fromkeys(entry.path_key for entry in self.entries if entry.path_key is not None))

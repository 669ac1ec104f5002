"""One webhook (Standard Webhooks 1.0): its body, its signed headers, and its form as a message that waits.

Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from provider_gateway.message.copies import PG_REPLAYS
from provider_gateway.message.http_headers import JSON
from provider_gateway.message.message import PG_PARKED_AT, PG_REASON, Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider_gateway.store.records import Record

#: Headers of the messages in which webhooks wait.
PG_WEBHOOK = "pg-webhook"
PG_WEBHOOK_ID = "pg-webhook-id"
PG_TRY = "pg-try"
PG_PUT_OFF = "pg-put-off"
#: A count beyond this one is not ours.
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One webhook.

    Attributes:
        id: stays the same over all tries; receivers know by it what they have seen.
        request: id of the request.
        webhook: the endpoint, from :meth:`.AccessRules.endpoint`.
        body: JSON, as it is sent.
        attempt: number of the next try, from 1.
        put_off: how often that try was put off, since the endpoint had too much to do.
        replays: how often somebody sent it again after it was parked.
        told: headers that tell the endpoint of the trace; none without traces.
    """

    id: str
    request: str
    webhook: str
    body: bytes
    attempt: int = 1
    put_off: int = 0
    replays: int = 0
    told: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, record: Record) -> Event:
        """What is to be told of a record that is final and has a webhook."""
        assert record.webhook is not None
        assert record.finished is not None
        time = datetime.fromtimestamp(record.finished, UTC).isoformat(timespec="milliseconds")
        document = {
            "type": f"prediction.{record.status.value}",
            "timestamp": time.replace("+00:00", "Z"),
            "data": {
                "id": record.id,
                "status": record.status.value,
                "result": f"/v1/requests/{record.id}/result",
            },
        }
        return cls(
            # No full stop: the signature has them as separators.
            id=f"msg_{record.id}_{record.status.value}",
            request=record.id,
            webhook=record.webhook,
            body=json.dumps(document, separators=(",", ":")).encode(),
        )

    @classmethod
    def told_by(cls, message: Message) -> Event:
        """Read a message of ours.

        Raises:
            ValueError: it is none.
        """
        texts = (message.headers.get(PG_WEBHOOK_ID), message.headers.get(PG_WEBHOOK), message.correlation_id)
        id_, webhook, request = (each if isinstance(each, str) else "" for each in texts)
        if not (id_.isascii() and id_.isprintable() and id_ and webhook and request):
            msg = "the message is no webhook"
            raise ValueError(msg)
        counts = (_number(message.headers.get(name)) for name in (PG_TRY, PG_PUT_OFF, PG_REPLAYS))
        attempt, put_off, replays = counts
        return cls(
            id=id_,
            request=request,
            webhook=webhook,
            body=message.body,
            attempt=max(1, attempt),
            put_off=put_off,
            replays=replays,
        )

    def message(self) -> Message:
        """A message that carries it. Each has another message id."""
        headers: dict[str, Any] = {PG_WEBHOOK_ID: self.id, PG_WEBHOOK: self.webhook, PG_TRY: self.attempt}
        headers[PG_PUT_OFF] = self.put_off
        if self.replays:
            headers[PG_REPLAYS] = self.replays
        return Message(self.body, headers, correlation_id=self.request)

    def parked(self, reason: str, now: float) -> Message:
        """A message for the parking queue. One that is moved back to the work queue begins anew.

        Args:
            now: seconds since 1970.
        """
        message = self.first().message()
        message.headers = {**message.headers, PG_REASON: reason, PG_PARKED_AT: int(1000 * now)}
        return message

    def first(self) -> Event:
        """The webhook before its first try."""
        return replace(self, attempt=1, put_off=0)

    def next_try(self) -> Event:
        """The webhook after a try that failed."""
        return replace(self, attempt=self.attempt + 1, put_off=0)

    def later(self) -> Event:
        """The webhook, with its try put off."""
        return replace(self, put_off=self.put_off + 1)

    def headers(self, secrets: Sequence[bytes], now: float) -> dict[str, str]:
        """The headers of a try.

        Args:
            secrets: each signs.
            now: seconds since 1970. Receivers refuse what was signed minutes ago.
        """
        timestamp = str(int(now))
        signed = b"%b.%b.%b" % (self.id.encode(), timestamp.encode(), self.body)
        signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
        return {
            "Content-Type": JSON,
            "User-Agent": f"provider-gateway/{__version__}",
            "webhook-id": self.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
            **self.told,
        }


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MANY else 0

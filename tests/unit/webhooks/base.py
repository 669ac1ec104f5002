"""Endpoints without files, and records, for tests of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.security.webhook_endpoints import Endpoint
from provider_gateway.store.records import Record, Status

if TYPE_CHECKING:
    from provider_gateway.security.tls import ClientTLS

KEY = bytes(range(32))


def record(id_: str = "c1", webhook: str | None = "done a", status: Status = Status.SUCCEEDED, **more: Any) -> Record:
    """A record that ended at a time with milliseconds."""
    finished = None if status is Status.PENDING else 1_700_000_000.123
    values = {"owner": "a", "routing_key": "k", "rquid": "r", "created": 1.0, "expires": 2.0, "finished": finished}
    return Record(id=id_, webhook=webhook, status=status, **{**values, **more})


def new_endpoint(
    name: str = "done", url: str = "http://127.0.0.1:8080/hook?token=hidden", secrets: tuple[bytes, ...] = (KEY,)
) -> Endpoint:
    """An endpoint. It has no TLS."""
    tls: ClientTLS = None  # type: ignore[assignment] # not used for http
    return Endpoint(name, MaskedURL(url), secrets, tls)

"""Entries of the queue file, with and without ``dleParams``."""

from __future__ import annotations

from typing import Any

from provider_gateway.config.queue_file import QueueEntry


def dle(queue: str = "waiting", exchange: str = "dlx", back: str = "ML.MQ") -> dict[str, Any]:
    """``dleParams``."""
    return {
        "dleExchange": exchange,
        "dleQueue": queue,
        "dleArgs": {"x-message-ttl": 60000, "x-dead-letter-exchange": back},
    }


def entry(name: str = "work", **keys: Any) -> QueueEntry:
    """An entry of the queue file."""
    return QueueEntry.model_validate({"topic": "ML.MQ", "queueName": name, "bindingKey": "predict.*", **keys})


def seed(name: str = "work", **keys: Any) -> QueueEntry:
    """An entry with the seed's retry route."""
    return entry(name, **{"dle": True, "dleParams": dle(), **keys})

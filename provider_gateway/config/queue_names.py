"""Names in the queue file, of queues, exchanges and routing keys: what they may hold, and which ones are RabbitMQ's."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from provider_gateway.config.schema_details import SchemaDetails, no_controls
from provider_gateway.config.short_strings import SHORT_STRING_BYTES, check_short_string

ExchangeType = Literal["topic", "direct", "fanout"]

#: Names with this prefix are RabbitMQ's own.
RESERVED = "amq."
#: The exchanges of RabbitMQ that an entry may use, with their types.
RABBITMQ_EXCHANGES = {f"{RESERVED}{kind}": kind for kind in ("topic", "direct", "fanout")}


def empty_as_none(value: object) -> object:
    """None for the empty text: the key then counts as not there."""
    return None if value == "" else value


def check_exchange(key: str, name: str, kind: str, *, durable: bool = True) -> None:
    """Check that an exchange of RabbitMQ's own is used as it is.

    Raises:
        ValueError: it is used in another way, or the name is reserved and no exchange has it.
    """
    if not name.startswith(RESERVED):
        return
    if name not in RABBITMQ_EXCHANGES:
        msg = f"{key}: RabbitMQ reserves names that begin with {RESERVED!r}; use another name"
        raise ValueError(msg)
    if kind != RABBITMQ_EXCHANGES[name] or not durable:
        msg = f"{key}: {name!r} is RabbitMQ's own: a durable exchange of type {RABBITMQ_EXCHANGES[name]!r}"
        raise ValueError(msg)


def _check_short_string(value: object) -> object:
    return check_short_string(value) if isinstance(value, str) else value


def _check_not_reserved(name: str) -> str:
    if name.startswith(RESERVED):
        msg = f"RabbitMQ reserves names that begin with {RESERVED!r}; use another name"
        raise ValueError(msg)
    return name


# Before the type is checked: the error is then about the text.
ShortString = Annotated[
    str, BeforeValidator(_check_short_string), SchemaDetails(no_controls(at_most=SHORT_STRING_BYTES))
]
Name = Annotated[ShortString, Field(min_length=1)]
QueueName = Annotated[
    Name, AfterValidator(_check_not_reserved), SchemaDetails({"not": {"pattern": rf"^{re.escape(RESERVED)}"}})
]

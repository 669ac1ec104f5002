"""The queue file: exchanges, queues and bindings, and the limits of the model calls for each queue.

The keys are the seed's (``topic``, ``queueName``, ``bindingKey``, ``replyTo``, ``dle``, ``dleParams``, ``argQueue``)
plus optional ones of our own. Nothing here touches the broker; :mod:`provider_gateway.amqp.declare` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from provider_gateway.config.accepted_bodies import AcceptedCodings, AcceptedTypes
from provider_gateway.config.entries_together import check_together
from provider_gateway.config.entry_schema import DLE_PARAMS, ENTRY
from provider_gateway.config.model_entry import ModelEntry, ReadyURL
from provider_gateway.config.queue_arguments import Arguments, wrong_together
from provider_gateway.config.queue_names import (
    ExchangeType,
    Name,
    QueueName,
    ShortString,
    check_exchange,
    empty_as_none,
)
from provider_gateway.config.request_paths import RequestPath
from provider_gateway.config.schema_details import OneOrMore, SchemaDetails
from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.config.yaml_file import StrictModel, parse_entries, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from provider_gateway.config.masked_url import MaskedURL

#: A week. A longer time is a mistake, or stands for "no limit", which is not supported.
MAX_SECONDS = 604_800
#: Replays of one parked message, beyond which one has to be forced: it fails each time.
MAX_REPLAYS = 3


def _quorum_by_argument(entry: object) -> object:
    """Take ``x-queue-type`` of ``argQueue`` for ``queueType``: then the entry's other queues fit it."""
    if not isinstance(entry, dict) or "queueType" in entry or not isinstance(entry.get("argQueue"), dict):
        return entry
    given = entry["argQueue"].get("x-queue-type")
    return {**entry, "queueType": given} if given in ("classic", "quorum") else entry


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schema["anyOf"], {"const": ""}]}


class DleParams(StrictModel):
    """The seed's retry queue with its exchange, declared exactly as written."""

    model_config = ConfigDict(json_schema_extra=DLE_PARAMS)

    dle_exchange: Name
    dle_exchange_type: ExchangeType = "fanout"
    dle_queue: QueueName
    dle_args: Arguments = Field(default_factory=dict)

    @property
    def way_back(self) -> object:
        """The exchange to which waiting messages return; None if the file names none."""
        return self.dle_args.get("x-dead-letter-exchange")


class QueueEntry(StrictModel):
    """One entry of the queue file: a work queue, its bindings, and the model calls made for it.

    Attributes:
        exchange: ``topic`` in the file; the empty string is the default exchange.
        reply_to: queue for the replies to messages without a ``reply_to`` of their own; None for an entry without
            ``replyTo``.
        reply_to_allowed: patterns, as of a topic exchange, of other ``reply_to`` addresses that messages may bring;
            empty for any address that is no queue of the queue file.
        routing_key: routing key of HTTP requests without one.
        durable: False to declare the queues that the seed has, too, as the seed does: transient. These are the work
            queue, ``replyTo`` and ``dleQueue``.
        exchange_durable: False for a transient exchange; the seed's is durable.
        prefetch: messages that may be unacknowledged at a time, and thus model calls at a time.
        timeout: seconds for one model call; None means ``MODEL_TIMEOUT``.
        concurrency: ``fixed`` if only a busy or absent model changes the number of calls at a time; ``adaptive`` if its
            latency does, too.
        min_concurrency: model calls at a time, at least, while a busy model is asked.
        max_pause: seconds for which a busy model may ask us to pause, at most.
        busy_timeout: seconds that a message is held for a busy model before that counts as a failure.
        ready_url: URL, or path on the model's host, that answers 2xx while the model is ready; None means
            ``MODEL_READY_URL``.
        dle: True if a message whose model call failed is tried again.
        dle_params: the seed's retry route; None means the retry queue of this entry.
        max_attempts: failed model calls for one message before it is parked.
        max_replays: times that a parked message is sent again; beyond, it has to be forced.
        retry_delay: milliseconds before the next attempt; with ``dle_params``, their TTL counts instead.
        parking_queue: name of the parking queue; None for the default name.
        model: the model that is called; None for the one of ``MODEL_URL``.
        paths: paths of the HTTPS listener at which :attr:`path_key` needs no header.
        accept: media types of bodies, in lower case: ``type/subtype``, ``type/*`` or ``*/*``.
        accept_encoding: content codings of bodies that are passed on; else bodies are to come as they are.
        open_inference: True if callers may use the Open Inference Protocol for this model.
    """

    model_config = ConfigDict(json_schema_extra=ENTRY)

    exchange: ShortString = Field(alias="topic")
    exchange_type: ExchangeType = "topic"
    queue_name: QueueName
    binding_key: Annotated[tuple[ShortString, ...], Field(strict=False), OneOrMore()] = ()
    reply_to: Annotated[QueueName | None, BeforeValidator(empty_as_none), SchemaDetails(_or_empty)] = None
    reply_to_allowed: Annotated[tuple[Name, ...], Field(strict=False), OneOrMore()] = ()
    routing_key: Name | None = None
    durable: bool = True
    exchange_durable: bool = True
    queue_type: Literal["classic", "quorum"] = "classic"
    prefetch: int = Field(default=100, ge=1, le=65535)
    timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] | None = None
    concurrency: Literal["fixed", "adaptive"] = "fixed"
    min_concurrency: int = Field(default=1, ge=1, le=65535)
    max_pause: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] = 60
    busy_timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] = 600
    ready_url: ReadyURL | None = None
    dle: bool = False
    dle_params: DleParams | None = None
    arg_queue: Arguments = Field(default_factory=dict)
    max_attempts: int = Field(default=5, ge=1)
    max_replays: int = Field(default=MAX_REPLAYS, ge=0)
    retry_delay: int = Field(default=60_000, ge=1, le=2**32 - 1)
    parking_queue: QueueName | None = None
    model: ModelEntry | None = None
    paths: Annotated[tuple[RequestPath, ...], Field(strict=False), OneOrMore()] = ()
    accept: AcceptedTypes = ("application/json",)
    accept_encoding: AcceptedCodings = ()
    open_inference: bool = False

    _quorum_by_argument = model_validator(mode="before")(_quorum_by_argument)

    @model_validator(mode="after")
    def _consistent(self) -> QueueEntry:
        if self.exchange and self.exchange_type != "fanout" and not self.binding_key:
            msg = f"bindingKey is needed to bind {self.queue_name!r} to the exchange {self.exchange!r}"
            raise ValueError(msg)
        if self.queue_type == "quorum" and not self.durable:
            msg = f"quorum queues are always durable; remove 'durable: false' from {self.queue_name!r}"
            raise ValueError(msg)
        if self.min_concurrency > self.prefetch:
            msg = f"minConcurrency: expected at most prefetch ({self.prefetch}), found {self.min_concurrency}"
            raise ValueError(msg)
        if self.reply_to == self.queue_name:
            msg = f"replyTo is the queue {self.queue_name!r} itself: each reply would be served as a request"
            raise ValueError(msg)
        if len(f"{self.queue_name}.parking".encode()) > SHORT_STRING_BYTES:
            msg = f"queueName is too long: with '.parking' it has more than {SHORT_STRING_BYTES} bytes"
            raise ValueError(msg)
        self._check_arguments()
        self._check_model()
        check_exchange("topic", self.exchange, self.exchange_type, durable=self.exchange_durable)
        if self.dle_params is not None:
            check_exchange("dleParams.dleExchange", self.dle_params.dle_exchange, self.dle_params.dle_exchange_type)
            if self.dle:
                self._check_way_back(self.dle_params)
        return self

    def _check_arguments(self) -> None:
        """Check arguments that depend on the queue's type."""
        given = self.arg_queue.get("x-queue-type", self.queue_type)
        if given != self.queue_type:
            msg = f"argQueue.x-queue-type is {given!r} and queueType is {self.queue_type!r}; remove one of them"
            raise ValueError(msg)
        for problem in wrong_together(self.arg_queue, self.queue_type, is_completed=self.queue_type == "quorum"):
            msg = f"argQueue.{problem}"
            raise ValueError(msg)
        if self.dle_params is not None:
            kind = self.dle_params.dle_args.get("x-queue-type", "classic")
            for problem in wrong_together(self.dle_params.dle_args, kind, is_completed=False):
                msg = f"dleParams.dleArgs.{problem}"
                raise ValueError(msg)
            if kind == "quorum" and not self.durable:
                msg = "dleParams.dleArgs.x-queue-type: quorum queues are always durable; remove 'durable: false'"
                raise ValueError(msg)

    def _check_model(self) -> None:
        """Check what callers are told of the model, and where they find it."""
        if self.open_inference and (self.model is None or self.model.name is None):
            msg = "openInference: needs model.name, under which callers ask for the model"
            raise ValueError(msg)
        if self.ready_url is not None and self.model is not None and self.model.ready_url is not None:
            msg = "readyUrl: stands under model as well; remove one of them"
            raise ValueError(msg)
        key = self.path_key
        wants = "paths" if self.paths else "openInference" if self.open_inference else None
        if wants is not None and (key is None or {"*", "#"} & set(key)):
            msg = f"{wants}: needs a routingKey without wildcards, under which the requests are published"
            raise ValueError(msg)

    def _check_way_back(self, dle: DleParams) -> None:
        for argument, otherwise in (
            ("x-message-ttl", "messages would wait for ever"),
            ("x-dead-letter-exchange", "messages would be dropped after their wait"),
        ):
            if argument not in dle.dle_args:
                msg = f"dleParams.dleArgs of {self.queue_name!r} needs {argument}: without it {otherwise}"
                raise ValueError(msg)
        if dle.dle_exchange_type == "direct" and self.exchange_type != "direct":
            msg = f"dleExchangeType 'direct' cannot take every routing key of {self.queue_name!r}; use fanout or topic"
            raise ValueError(msg)

    @property
    def path_key(self) -> str | None:
        """The routing key of requests to :attr:`paths`, which name none; None if the entry has none, or several."""
        if self.routing_key is not None:
            return self.routing_key
        if not self.exchange:
            return self.queue_name
        if self.exchange_type == "fanout" or len(self.binding_key) != 1:
            return None
        return None if {"*", "#"} & set(self.binding_key[0]) else self.binding_key[0] or None

    @property
    def taken_keys(self) -> tuple[str, ...]:
        """Routing keys that lead to the queue: patterns for a topic exchange, else the keys themselves."""
        if not self.exchange:
            return (self.queue_name,)
        return ("#",) if self.exchange_type == "fanout" else self.binding_key

    @property
    def model_url(self) -> MaskedURL | None:
        """The URL of the entry's own model; None for that of the ``MODEL_*`` variables."""
        return self.model.url if self.model is not None else None

    @property
    def model_ready_url(self) -> MaskedURL | None:
        """The ready URL of the entry, or a path on the host of its model; None if the entry has none."""
        return self.model.ready_url if self.model is not None and self.model.ready_url is not None else self.ready_url

    @property
    def seed_route(self) -> DleParams | None:
        """The seed's retry route, if this entry retries on it."""
        return self.dle_params if self.dle else None

    @property
    def retry_queue(self) -> str:
        """The retry queue: messages wait there for their next attempt. Not used with ``dle_params``."""
        return f"{self.queue_name}.retry"

    @property
    def return_exchange(self) -> str:
        """The return exchange: copies come back to the work queue through it. Only the work queue is bound to it."""
        return f"{self.queue_name}.return"

    @property
    def parking(self) -> str:
        """The parking queue: messages that could not be answered stay there."""
        return self.parking_queue if self.parking_queue is not None else f"{self.queue_name}.parking"


_ENTRIES = TypeAdapter(Annotated[tuple[QueueEntry, ...], Field(min_length=1, strict=False)])

#: The entry that the seed has built in, for a process without a queue file.
BUILT_IN = _ENTRIES.validate_python(
    [{"topic": "ML.MQ", "queueName": "fib", "bindingKey": "predict.*", "replyTo": "response"}]
)


def parse_queues(text: str, source: str) -> tuple[QueueEntry, ...]:
    """Read the text of a queue file.

    Args:
        text: YAML, a list of entries.
        source: name of the file for error messages.

    Raises:
        SettingsError: the text is not YAML, a key is unknown, repeated or missing, or a value is out of range. The
            error names the path of the key.
    """
    entries = parse_entries(text, source, "queue entries", _ENTRIES)
    check_together(entries, source)
    return entries


def load_queues(path: Path) -> tuple[QueueEntry, ...]:
    """Read a queue file.

    Raises:
        SettingsError: the file cannot be read or is wrong.
    """
    return parse_queues(read_text(path, "a queue file"), str(path))

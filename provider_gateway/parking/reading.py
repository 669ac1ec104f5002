"""Reads parked messages fast: those of a queue look alike, so each is read as the last one of its kind was. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pika import spec

from provider_gateway.message.copies import PG_ATTEMPT, PG_QUEUE, PG_REDELIVERIES, PG_REPLAYS
from provider_gateway.message.message import (
    PG_IDENTITY,
    PG_MODEL_ERROR,
    PG_MODEL_STATUS,
    PG_PARKED_AT,
    PG_REASON,
    PG_ROUTING_KEY,
)
from provider_gateway.message.plain_properties import decode_properties
from provider_gateway.parking.decoding import (
    COUNTERS,
    clean,
    count,
    death_of,
    decoded_message,
    decoded_outline,
    first_key,
    milliseconds,
    outline_of_death,
)
from provider_gateway.parking.layouts import NOWHERE, Layout
from provider_gateway.parking.parked_message import HEAD_BYTES, UNKNOWN, Outline, ParkedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Layouts that are known at a time.
_MOST = 256


def message_of(position: int, routing_key: str, properties: bytes, body: bytes) -> ParkedMessage:
    """Read a delivery of a parking queue.

    Args:
        position: place in the queue.
        routing_key: of the delivery.
        properties: encoded, as they arrived.
    """
    places = _places_of(properties)
    if places is not None:
        with suppress(UnicodeDecodeError):
            return places.message(position, routing_key, properties, body)
    return decoded_message(position, routing_key, properties, body)


def outline_of(properties: bytes, size: int) -> Outline:
    """What a message counts as: a tenth of the work of :meth:`.message_of`.

    Args:
        properties: encoded, as they arrived.
        size: bytes of the body.
    """
    places = _places_of(properties)
    if places is not None:
        return places.outline(properties, size)
    return decoded_outline(decode_properties(properties).headers, size)


class LateHeaders(Mapping[str, object]):
    """The headers in encoded properties, which are decoded when somebody asks for them: few are asked for."""

    __slots__ = ("_encoded", "_headers")

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._headers: Mapping[str, object] | None = None

    def _decoded(self) -> Mapping[str, object]:
        if self._headers is None:
            self._headers = decode_properties(self._encoded).headers
        return self._headers

    def __getitem__(self, name: str) -> object:
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())


class _Places:
    """Where the fields of a message stand in properties of one layout.

    Raises:
        Exception: the layout is odd, or a field has another type than ours have.
    """

    __slots__ = (
        "_attempts", "_content_encoding", "_content_type", "_correlation_id", "_death", "_identity", "_layout",
        "_message_id", "_model_error", "_model_status", "_owner", "_parked_at", "_reason", "_redeliveries", "_replays",
        "_reply_to", "_routing_key", "_rquid", "_user_id", "fits",
    )  # fmt: skip

    def __init__(self, encoded: bytes) -> None:
        self._layout = layout = Layout(encoded, COUNTERS)
        self.fits = layout.fits
        text, number, plain = layout.text_at, layout.number_at, layout.properties
        self._reason, self._owner, self._parked_at = text(PG_REASON), text(PG_QUEUE), number(PG_PARKED_AT)
        self._death = layout.entries.get(b"x-death")
        rquids = [name for name in layout.headers if name.lower() == b"rquid"]
        self._rquid = text(rquids[0].decode()) if rquids else NOWHERE
        self._identity, self._routing_key = text(PG_IDENTITY), text(PG_ROUTING_KEY)
        self._attempts, self._redeliveries = number(PG_ATTEMPT), number(PG_REDELIVERIES)
        self._replays, self._model_status = number(PG_REPLAYS), number(PG_MODEL_STATUS)
        self._model_error = text(PG_MODEL_ERROR)
        self._user_id, self._message_id = plain.get("user_id", NOWHERE), plain.get("message_id", NOWHERE)
        self._correlation_id, self._reply_to = plain.get("correlation_id", NOWHERE), plain.get("reply_to", NOWHERE)
        self._content_type = plain.get("content_type", NOWHERE)
        self._content_encoding = plain.get("content_encoding", NOWHERE)

    def outline(self, encoded: bytes, size: int) -> Outline:
        """See :func:`outline_of`."""
        if self._death is not None and (death := _death_in(encoded[self._death])) is not None:
            return outline_of_death(death, size)
        at = encoded[self._parked_at]
        return Outline(
            _known_text(encoded[self._reason]) or UNKNOWN,
            milliseconds(int.from_bytes(at, "big", signed=True)) if at else None,
            _known_text(encoded[self._owner]),
            size,
        )

    def message(self, position: int, routing_key: str, encoded: bytes, body: bytes) -> ParkedMessage:
        """See :meth:`.message_of`.

        Raises:
            UnicodeDecodeError: a property is no text.
        """
        outline = self.outline(encoded, len(body))
        if self._death is not None and _death_in(encoded[self._death]) is not None:
            key = first_key(LateHeaders(encoded), outline)
        else:
            key = _known_text(encoded[self._routing_key])
        status = int.from_bytes(encoded[self._model_status], "big", signed=True)
        user_id = encoded[self._user_id].decode() or None
        return ParkedMessage(
            id=self._layout.digest(encoded, body),
            position=position,
            reason=outline.reason,
            parked_at=outline.parked_at,
            owner=outline.owner,
            rquid=_header_text(encoded[self._rquid]),
            message_id=encoded[self._message_id].decode() or None,
            correlation_id=encoded[self._correlation_id].decode() or None,
            reply_to=_known_property(encoded[self._reply_to]),
            identity=user_id or _known_text(encoded[self._identity]),
            routing_key=clean(routing_key) if key is None else key,
            attempts=_count_in(encoded[self._attempts]),
            redeliveries=_count_in(encoded[self._redeliveries]),
            replays=_count_in(encoded[self._replays]),
            model_status=status if 100 <= status <= 999 else None,
            model_error=_known_text(encoded[self._model_error]) or "",
            content_type=_known_property(encoded[self._content_type]),
            content_encoding=_known_property(encoded[self._content_encoding]),
            size=outline.size,
            headers=LateHeaders(encoded),
            head=body[:HEAD_BYTES],
        )


#: By the length of the properties: the places in those that were read last.
_known_places: dict[int, _Places] = {}


def _places_of(encoded: bytes) -> _Places | None:
    """Where the fields stand; None if the properties are odd."""
    known = _known_places.get(len(encoded))
    if known is not None and known.fits(encoded):
        return known
    try:
        places = _Places(encoded)
    except Exception:  # noqa: BLE001 - pika reads what is odd, or says why it cannot be read
        return None
    if len(_known_places) >= _MOST:
        _known_places.clear()
    _known_places[len(encoded)] = places
    return places


def _header_text(data: bytes) -> str | None:
    """The text of a header; None if it is empty."""
    return clean(data.decode("utf-8", "surrogateescape")) or None


#: For texts that are in many messages.
_known_text = lru_cache(1024)(_header_text)


@lru_cache(1024)
def _known_property(data: bytes) -> str | None:
    return data.decode() or None


@lru_cache(1024)
def _count_in(data: bytes) -> int:
    return count(int.from_bytes(data, "big", signed=True))


@lru_cache(256)
def _death_in(entry: bytes) -> Mapping[str, Any] | None:
    """The broker's record in a header, which is the same for all messages of a second."""
    table = struct.pack(">HI", spec.BasicProperties.FLAG_HEADERS, len(entry)) + entry
    return death_of(decode_properties(table).headers)

"""Turns records and results into rows and back. Any text fits into any database: it is kept as ASCII with escapes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provider_gateway.store.records import Record, Result, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Columns of ``requests``, in the order of a row.
RECORD = (
    *("id", "owner", "routing_key", "rquid", "created", "expires", "status", "finished", "attempts", "model_status"),
    *("webhook", "key", "fingerprint", "key_expires", "accept_by"),
)
#: Columns of ``results``, in the order of a row.
RESULT = ("id", "expires", "status", "headers", "content_type", "content_encoding", "body")


def text(value: str) -> str:
    r"""Text as it is stored: ASCII, with ``\\`` for a backslash and Python's escapes for everything else.

    A database refuses NUL and surrogates, or has an encoding that lacks a character.
    """
    if value.isascii() and "\\" not in value and "\0" not in value:
        return value
    return value.replace("\\", "\\\\").replace("\0", "\\x00").encode("ascii", "backslashreplace").decode("ascii")


def from_text(value: str) -> str:
    """The text that was stored."""
    return value.encode("ascii").decode("unicode_escape") if "\\" in value else value


def _optional(value: str | None) -> str | None:
    return None if value is None else text(value)


def _from_optional(value: str | None) -> str | None:
    return None if value is None else from_text(value)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def record_row(record: Record) -> tuple[Any, ...]:
    """A record as a row of ``requests``."""
    return (
        text(record.id),
        _optional(record.owner),
        text(record.routing_key),
        text(record.rquid),
        milliseconds(record.created),
        milliseconds(record.expires),
        record.status.value,
        _optional_milliseconds(record.finished),
        record.attempts,
        record.model_status,
        _optional(record.webhook),
        record.key,
        record.fingerprint,
        _optional_milliseconds(record.key_expires),
        _optional_milliseconds(record.accept_by),
    )


def record_of(row: Sequence[Any]) -> Record:
    """The record of a row of ``requests``."""
    return Record(
        id=from_text(row[0]),
        owner=_from_optional(row[1]),
        routing_key=from_text(row[2]),
        rquid=from_text(row[3]),
        created=row[4] / 1000,
        expires=row[5] / 1000,
        status=Status(row[6]),
        finished=_seconds(row[7]),
        attempts=row[8],
        model_status=row[9],
        webhook=_from_optional(row[10]),
        key=_bytes(row[11]),
        fingerprint=_bytes(row[12]),
        key_expires=_seconds(row[13]),
        accept_by=_seconds(row[14]),
    )


def result_row(id_: str, expires: float, result: Result) -> tuple[Any, ...]:
    """A result as a row of ``results``."""
    return (
        text(id_),
        milliseconds(expires),
        result.status,
        # JSON alone would make one character of two surrogates.
        json.dumps({text(name): text(value) for name, value in result.headers.items()}).encode(),
        _optional(result.content_type),
        _optional(result.content_encoding),
        result.body,
    )


def result_of(row: Sequence[Any]) -> Result:
    """The result of a row of ``results``."""
    return Result(
        status=row[2],
        headers={from_text(name): from_text(value) for name, value in json.loads(bytes(row[3])).items()},
        content_type=_from_optional(row[4]),
        content_encoding=_from_optional(row[5]),
        body=bytes(row[6]),
    )


def milliseconds(seconds: float) -> int:
    """A time as it is stored."""
    return round(seconds * 1000)


def _optional_milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _seconds(value: int | None) -> float | None:
    return None if value is None else value / 1000

"""The queries of the page's addresses: they are read, and written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from provider_gateway.errors import BadRequest
from provider_gateway.parking.filters import Filter
from provider_gateway.workbench.rendering import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Parameters of a query; more are a mistake, or an attack.
_MOST = 20
#: The conditions that the form has, as in ``GET /v1/parking/{queue}``.
_CONDITIONS = ("reason", "rquid", "identity", "since", "older_than", "grep")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def query_of(uri: bytes) -> dict[str, str]:
    """The parameters of an address that are not empty: a form sends fields that nobody has filled in.

    Raises:
        BadRequest: there are too many, or one comes twice.
    """
    try:
        pairs = parse_qsl(uri.partition(b"?")[2].decode("latin-1"), errors="surrogateescape", max_num_fields=_MOST)
    except ValueError:
        msg = f"The query has more than {_MOST} parameters."
        raise BadRequest(msg) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            msg = "A parameter of the query was given twice."
            raise BadRequest(msg)
        found[name] = value
    return found


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that is a whole number from 0.

    Raises:
        BadRequest: it is none.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        msg = f"The parameter {name} is a whole number."
        raise BadRequest(msg)
    return int(text)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The filter of a list, as somebody has filled it in.

    Attributes:
        given: texts of the form's fields, by their names; those that are empty, too.
        filter: what they mean.
    """

    given: dict[str, str]
    filter: Filter

    @classmethod
    def of(cls, query: Mapping[str, str], now: float) -> Conditions:
        """Read the conditions of a query.

        Raises:
            FilterError: a condition is malformed.
        """
        given = {name: query.get(name, "").strip() for name in _CONDITIONS}
        values = {name: value or None for name, value in given.items()}
        reason = values.pop("reason")
        return cls(given, Filter.from_values(now=now, reasons=() if reason is None else (reason,), **values))

    @property
    def is_everything(self) -> bool:
        """True if no condition is given."""
        return self.filter.is_everything

    def address(self, queue: str, **more: object) -> str:
        """The address of a list with these conditions.

        Args:
            more: parameters, in place of conditions with the same names.
        """
        kept = {name: value for name, value in self.given.items() if value and name not in more}
        pairs = {"queue": queue, **kept, **more}
        return "/workbench/parking?" + "&".join(f"{name}={quoted(str(value))}" for name, value in pairs.items())

    def document(self) -> str:
        """The filter as the HTTP interface takes it. Times are fixed: what is asked for later is what is seen now."""
        kept = {name: value for name, value in self.given.items() if value}
        for name, time in (("since", self.filter.since), ("older_than", self.filter.before)):
            if time is not None:
                kept[name] = (_EPOCH + timedelta(seconds=time)).isoformat()
        return json.dumps(kept)

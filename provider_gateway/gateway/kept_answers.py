"""Answers to requests that can be asked for later: the result, or 202 while there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provider_gateway.gateway.response import write_result
from provider_gateway.gateway.status_document import location_of, status_document
from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.clocks import WallClock
    from provider_gateway.results.results import Results
    from provider_gateway.store.records import Record

#: Seconds after which to ask again: this part of the age of a request, between 1 and the most.
_PART, _MOST = 0.1, 30


class KeptAnswers:
    """Answers requests from their records.

    Args:
        on_unsafe: called for each header of a result that is malformed. It is left out.
    """

    def __init__(self, results: Results, wall_clock: WallClock, on_unsafe: Callable[[], object]) -> None:
        self._results = results
        self._wall_clock = wall_clock
        self._on_unsafe = on_unsafe

    async def result(self, request: Any, record: Record, accepted: frozenset[str] | None) -> bytes:
        """Answer with the result of a final record as ``/v1/predict`` would have.

        Args:
            accepted: content codings that the caller accepts; None for any.

        Raises:
            GatewayError: of :meth:`.Results.result` and :func:`.write_result`.
        """
        return write_result(request, await self._results.result(record), accepted, self._on_unsafe)

    def accepted(self, request: Any, record: Record, applied: str | None, *, has_waited: bool = False) -> bytes:
        """Answer with 202: there is no result yet.

        Args:
            applied: the preferences that were honoured (RFC 7240, 3); None for none.
            has_waited: the caller has waited for the result, and asks again at once: nothing is gained by a pause, and
                the answer may come in it.
        """
        pause = 1 if has_waited else self._pause(record)
        request.setResponseCode(202)
        request.setHeader("Location", location_of(record.id))
        request.setHeader("Retry-After", str(pause))
        if applied:
            request.setHeader("Preference-Applied", applied)
        return with_length(request, JSON, json.dumps(status_document(record)).encode())

    def _pause(self, record: Record) -> int:
        """Seconds after which to ask again: the longer it has taken, the longer it may still take."""
        return int(min(max(1.0, _PART * (self._wall_clock() - record.created)), _MOST))

"""What callers ask about requests that were accepted: their status, their results, a list; and their deletion."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from provider_gateway.content_codings import accepted_codings
from provider_gateway.errors import BadRequest, Forbidden, NotFound
from provider_gateway.gateway.admission import owner_of
from provider_gateway.gateway.preferences import preferences
from provider_gateway.gateway.status_document import REQUESTS, status_document
from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON
from provider_gateway.store.records import Status

if TYPE_CHECKING:
    from provider_gateway.gateway.admission import Admission
    from provider_gateway.gateway.kept_answers import KeptAnswers
    from provider_gateway.results.results import Results
    from provider_gateway.store.records import Record

#: Ids are made by :func:`.fresh_id`. Anything else is no id, and the store is not asked.
_ID = re.compile(r"[0-9a-f]{32}")
_LIMIT, _LARGEST_LIMIT = 20, 100
_PARAMETERS = frozenset({"status", "limit", "after"})
#: What a list can be asked for.
_SHOWN = tuple(status for status in Status if status is not Status.ERASED)


class StoredRequests:
    """Serves what is below ``/v1/requests``.

    Args:
        reply_timeout: seconds that a caller waits at most.
    """

    def __init__(self, results: Results, answers: KeptAnswers, admission: Admission, reply_timeout: float) -> None:
        self._results = results
        self._answers = answers
        self._admission = admission
        self._reply_timeout = reply_timeout

    async def status(self, request: Any, id_: str) -> bytes:
        """Answer with the status document of a request.

        Raises:
            NotFound: there is no such request, or it is another caller's.
            Gone: its time is over.
            Forbidden: the access file does not allow its routing key any more.
            StoreUnavailable: the store is away.
        """
        return _answer(request, status_document(await self._record(request, id_)))

    async def result(self, request: Any, id_: str) -> bytes:
        """Answer with the result of a request as ``/v1/predict`` would have, or with 202 while there is none.

        Raises:
            RequestCanceled: there will be none.
            ModelFailure: the caller does not accept the content coding of the result.
            GatewayError: as for :meth:`status`.
        """
        headers = request.requestHeaders
        accepted = accepted_codings(headers.getRawHeaders(b"Accept-Encoding"))
        wait = preferences(headers.getRawHeaders(b"Prefer", ())).wait
        record = await self._record(request, id_)
        seconds = min(wait or 0, self._reply_timeout)
        if seconds and not record.status.is_final:
            record = await self._results.wait(id_, seconds) or await self._record(request, id_)
        if record.status.is_final:
            return await self._answers.result(request, record, accepted)
        applied = None if wait is None else f"wait={seconds:g}"
        return self._answers.accepted(request, record, applied, has_waited=bool(seconds))

    async def list(self, request: Any) -> bytes:
        """Answer with the caller's own requests, the newest first.

        Those whose routing key the access file does not allow any more are left out.

        Raises:
            BadRequest: a parameter of the query is wrong.
            Forbidden: the caller has no name that requests could be kept for.
            StoreUnavailable: the store is away.
        """
        query = _query(request.uri)
        status, limit, after = _status(query.get("status")), _limit(query.get("limit")), query.get("after")
        if after is not None and not _ID.fullmatch(after):
            msg = "The parameter after is no id of a request."
            raise BadRequest(msg)
        owner = owner_of(request)
        if owner is None:
            msg = (
                "There is a list for callers with a name in their client certificate only; fetch requests by their ids."
            )
            raise Forbidden(msg)
        # One more than is shown tells whether there are more.
        found = await self._results.list(owner, status=status, limit=limit + 1, after=after)
        shown = found[:limit]
        after = shown[-1].id if len(found) > limit else None
        only = "" if status is None else f"status={status.value}&"
        document = {
            "requests": [status_document(each) for each in shown if self._admission.may_use(request, each.routing_key)],
            "next": None if after is None else f"{REQUESTS}?{only}limit={limit}&after={after}",
        }
        return _answer(request, document)

    async def erase(self, request: Any, id_: str) -> bytes:
        """Erase a request, or cancel it if it is pending; answer with 204.

        Raises:
            GatewayError: as for :meth:`status`.
        """
        await self._record(request, id_)
        await self._results.erase(id_, owner_of(request))
        request.setResponseCode(204)
        return b""

    async def _record(self, request: Any, id_: str) -> Record:
        if not _ID.fullmatch(id_):
            msg = "There is no such request: the path has no id that this gateway gives."
            raise NotFound(msg)
        request.correlation_id = id_
        record = await self._results.get(id_, owner_of(request))
        request.routing_key = record.routing_key
        if not self._admission.may_use(request, record.routing_key):
            msg = f"The access file does not let this certificate use the routing key {record.routing_key!r} any more."
            raise Forbidden(msg)
        return record


def _answer(request: Any, document: dict[str, Any]) -> bytes:
    request.setHeader("Cache-Control", "no-store")
    return with_length(request, JSON, json.dumps(document).encode())


def _query(uri: bytes) -> dict[str, str]:
    """The parameters of a query that we know; others are of no account.

    Raises:
        BadRequest: there are too many, or one that we know was given twice.
    """
    known: dict[str, str] = {}
    try:
        pairs = parse_qsl(uri.partition(b"?")[2].decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        msg = "The query has more than 20 parameters."
        raise BadRequest(msg) from None
    for name, value in pairs:
        if name not in _PARAMETERS:
            continue
        if name in known:
            msg = f"The parameter {name} was given twice."
            raise BadRequest(msg)
        known[name] = value
    return known


def _status(value: str | None) -> Status | None:
    if value is None:
        return None
    if value not in _SHOWN:
        msg = f"The parameter status is one of {', '.join(_SHOWN)}."
        raise BadRequest(msg)
    return Status(value)


def _limit(value: str | None) -> int:
    if value is None:
        return _LIMIT
    if not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= _LARGEST_LIMIT:
        msg = f"The parameter limit is a whole number from 1 to {_LARGEST_LIMIT}."
        raise BadRequest(msg)
    return int(value)

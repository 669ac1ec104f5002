"""Calls an endpoint: one POST, with one time limit, and no redirects. Little of its answer is read, and all dropped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError

from provider_gateway.http_client.body import SMALL, CappedBody
from provider_gateway.http_client.errors import (
    ClosedBeforeResponse,
    HandshakeFailed,
    ResponseError,
    UnrequestedCoding,
)
from provider_gateway.http_client.treq_post import TreqPost
from provider_gateway.model.client import model_client
from provider_gateway.model.retry_after import retry_after
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IResponse

    from provider_gateway.clocks import WallClock
    from provider_gateway.security.webhook_endpoints import Endpoint
    from provider_gateway.webhooks.event import Event

#: Seconds for the whole call (Standard Webhooks 1.0 recommends 15 to 30).
TIMEOUT = 15.0
#: Seconds for the rest of a body, once the status is known.
_BODY_TIMEOUT = 2.0
_GONE = 410
#: Statuses with which an endpoint may say when it takes the next try.
_BUSY = (429, 503)


class Result(StrEnum):
    """What became of a try: the label of metrics."""

    DELIVERED = "delivered"
    GONE = "gone"
    REDIRECT = "redirect"
    STATUS = "status"
    TIMEOUT = "timeout"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a try.

    Attributes:
        reason: for the log.
        wait: seconds after which the endpoint asks to be tried again; None if it does not.
        status: of its answer; None without one.
    """

    result: Result
    reason: str
    wait: float | None = None
    status: int | None = None


class EndpointClient:
    """Calls one endpoint.

    Args:
        reactor: provides TCP, host names and time.
        wall_clock: has the time for signatures.
        connections: how many idle connections to keep.
    """

    def __init__(self, reactor: Any, endpoint: Endpoint, wall_clock: WallClock, connections: int) -> None:
        self._reactor = reactor
        self._secrets = endpoint.secrets
        self._wall_clock = wall_clock
        client = model_client(reactor, endpoint.tls, connections=connections)
        self._post = TreqPost(client, endpoint.url.reveal())

    async def call(self, event: Event) -> Answer:
        """Try to deliver a webhook. A status of 2xx ends it; the body does not matter.

        Raises:
            CancelledError: the caller cancelled the call.
        """
        sending = Deferred.fromCoroutine(self._send(event))
        sending.addTimeout(TIMEOUT, self._reactor)
        try:
            response = await sending
        except DeferredTimeoutError:
            return Answer(Result.TIMEOUT, f"no answer within {TIMEOUT:g} s")
        except UnrequestedCoding as error:
            return self._judge(error.status, error.headers)
        except (ConnectError, DNSLookupError, HandshakeFailed, ResponseError) as error:
            return Answer(Result.CONNECTION, reason_of(error))
        answer = self._judge(response.code, response.headers)
        # The body is read, so that the connection can be used again. What keeps it from ending does not matter.
        body = CappedBody(SMALL)
        response.deliverBody(body)
        body.done.addTimeout(_BODY_TIMEOUT, self._reactor)
        with suppress(ResponseError, DeferredTimeoutError):
            await body.done
        return answer

    async def _send(self, event: Event) -> IResponse:
        headers = event.headers(self._secrets, self._wall_clock())
        response: IResponse
        try:
            try:
                response = await self._post.send(headers, event.body)
            except ClosedBeforeResponse:
                # The endpoint may just have closed an idle connection. It may see a webhook twice.
                response = await self._post.send(headers, event.body, needs_new=True)
        except ConnectingCancelledError:
            raise CancelledError from None
        return response

    def _judge(self, status: int, headers: Headers) -> Answer:
        reason = f"HTTP status {status}"
        if 200 <= status < 300:
            return Answer(Result.DELIVERED, reason, status=status)
        if status == _GONE:
            return Answer(Result.GONE, reason, status=status)
        if 300 <= status < 400:
            return Answer(Result.REDIRECT, f"{reason}: redirects are not followed", status=status)
        wait = retry_after(headers, self._wall_clock) if status in _BUSY else None
        return Answer(Result.STATUS, reason, wait, status)

"""Calls the model: one POST through treq, with one deadline over answer and body, and a cap on the body.

Nothing that a message carries selects the host; redirects are not followed; cookies are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from provider_gateway.errors import HeadersTooLarge, ModelFailure
from provider_gateway.messages import RQUID, headers_from_http, headers_to_http, safe_content_type, text_of
from provider_gateway.model_client import CappedBody, FixedURL
from provider_gateway.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treq.client import HTTPClient
    from twisted.web.iweb import IResponse

    from provider_gateway.messages import Message

#: Statuses below 500 that a later attempt may turn into an answer (RFC 9110, 15.5.9; RFC 6585, 4).
_RETRIED_4XX = (408, 429)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        status: 2xx, or a 4xx that is the caller's error.
        headers: those that may travel on.
    """

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


class Model:
    """The model behind one URL.

    Args:
        clock: times the deadline.
        url: the same for every call.
        max_body_bytes: larger answers are failures.
        on_unsafe_header: is called for each header of a message that must not be passed on.
    """

    def __init__(
        self,
        clock: Any,
        client: HTTPClient,
        url: str,
        max_body_bytes: int,
        on_unsafe_header: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._client = client
        self._url = FixedURL.of(url)
        self._max_body_bytes = max_body_bytes
        self._on_unsafe_header = on_unsafe_header

    async def call(self, message: Message, rquid: str, timeout: float) -> Answer:
        """Have a message's body answered.

        Args:
            rquid: its request id.
            timeout: seconds over connecting, answer and body together.

        Returns:
            The answer: a result, or a 4xx that says what is wrong with the request.

        Raises:
            ModelFailure: timeout, no connection, 5xx (and 408, 429, 3xx), a broken or oversized body.
        """
        calling = Deferred.fromCoroutine(self._exchange(message, rquid)).addTimeout(timeout, self._clock)
        try:
            return await calling
        except DeferredTimeoutError:
            msg = f"The model did not answer within {timeout:g} s."
            raise ModelFailure(msg, "timeout") from None

    async def _exchange(self, message: Message, rquid: str) -> Answer:
        headers = headers_to_http(message.headers, self._on_unsafe_header)
        headers["Content-Type"] = safe_content_type(message.content_type)
        headers[RQUID] = rquid
        try:
            response = await self._client.post(
                self._url,
                data=message.body,
                headers=Headers({name.encode(): [value.encode()] for name, value in headers.items()}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self._clock,
            )
        except ConnectingCancelledError:
            raise CancelledError from None  # ours: the deadline, or the end of the process
        except (ConnectError, DNSLookupError) as error:
            msg = "The model cannot be reached."
            raise ModelFailure(msg, "connection", reason_of(error)) from None
        except (ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed) as error:
            self._reraise_cancellation(error)
            msg = "The model closed the connection without a valid HTTP answer."
            raise ModelFailure(msg, "connection", reason_of(error)) from None
        body = CappedBody(self._max_body_bytes)
        response.deliverBody(body)
        return self._judge(response, await body.done)

    @staticmethod
    def _reraise_cancellation(error: Exception) -> None:
        """Twisted wraps our own cancellation of a request; it is no failure of the model."""
        for reason in getattr(error, "reasons", ()):
            if isinstance(reason, Failure) and reason.check(CancelledError):
                raise CancelledError from None

    @staticmethod
    def _judge(response: IResponse, body: bytes) -> Answer:
        status: int = response.code
        if not (200 <= status < 300 or (400 <= status < 500 and status not in _RETRIED_4XX)):
            msg = f"The model answered with HTTP status {status}."
            raise ModelFailure(msg, "status")
        content_type = text_of(response.headers.getRawHeaders(b"content-type", [b""])[0])
        try:
            headers = headers_from_http(response.headers.getAllRawHeaders())
        except HeadersTooLarge as error:
            msg = f"The model's answer cannot be passed on. {error}"
            raise ModelFailure(msg, "body") from None
        return Answer(status, body, safe_content_type(content_type), headers)

"""Calls the model: one POST through treq, with one deadline over answer and body, and a cap on the body.

Nothing that a message carries selects the host; redirects are not followed; cookies are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError

from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import HeadersTooLarge, ModelFailure
from provider_gateway.http_client.body import CappedBody
from provider_gateway.http_client.errors import BodyOverLimit, ResponseError, UnrequestedCoding
from provider_gateway.http_client.treq_post import TreqPost
from provider_gateway.message.http_headers import headers_from_http, headers_to_http, safe_content_type, text_of
from provider_gateway.message.ids import RQUID
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treq.client import HTTPClient
    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IResponse

    from provider_gateway.message.message import Message

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


def _failure(error: ResponseError, *, has_headers: bool) -> ModelFailure:
    """The failure of a call whose response cannot be used.

    Args:
        has_headers: True if the headers were fine: the body is what failed.
    """
    if isinstance(error, UnrequestedCoding):
        codings = ", ".join(text_of(coding).lower() for coding in error.codings)
        msg = f"The model's answer has the Content-Encoding {codings}, which was not asked for."
        return ModelFailure(msg, "body")
    if isinstance(error, BodyOverLimit):
        return ModelFailure(f"The model's answer is larger than {error.max_bytes} bytes (MAX_BODY_BYTES).", "body")
    if has_headers:
        return ModelFailure("The model's answer broke off before its end.", "body")
    msg = "The model closed the connection without a valid HTTP answer."
    return ModelFailure(msg, "connection", reason_of(error))


class _Call:
    """What a call waits for: its answer, then the body."""

    __slots__ = ("awaited",)

    def __init__(self, answered: Deferred[Any]) -> None:
        self.awaited = answered

    def cancel(self) -> None:
        self.awaited.cancel()


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
        *,
        url: str,
        max_body_bytes: int,
        on_unsafe_header: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._post = TreqPost(client, url, clock)
        self._max_body_bytes = max_body_bytes
        self._on_unsafe_header = on_unsafe_header
        #: By their seconds: one for each queue, at most.
        self._deadlines: dict[float, Deadlines[_Call]] = {}

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
        deadlines = self._deadlines.get(timeout)
        if deadlines is None:
            deadlines = self._deadlines[timeout] = Deadlines(self._clock, timeout, _Call.cancel)
        call = _Call(self._request(message, rquid))
        deadlines.start(call)
        response: IResponse | None = None
        try:
            response = await call.awaited
            body = CappedBody(self._max_body_bytes)
            call.awaited = body.done
            response.deliverBody(body)
            return self._judge(response, await body.done)
        except (CancelledError, ConnectingCancelledError):
            if deadlines.stop(call):
                raise CancelledError from None  # not by the deadline
            msg = f"The model did not answer within {timeout:g} s."
            raise ModelFailure(msg, "timeout") from None
        except (ConnectError, DNSLookupError) as error:
            msg = "The model cannot be reached."
            raise ModelFailure(msg, "connection", reason_of(error)) from None
        except ResponseError as error:
            raise _failure(error, has_headers=response is not None) from None
        finally:
            deadlines.stop(call)

    def _request(self, message: Message, rquid: str) -> Deferred[Any]:
        headers = headers_to_http(message.headers, self._on_unsafe_header)
        headers["Content-Type"] = safe_content_type(message.content_type)
        headers[RQUID] = rquid
        return self._post.send(headers, message.body)

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

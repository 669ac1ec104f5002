"""Posts spans to a collector (OTLP 1.x over HTTP): in batches, in the background, and never in the way of requests.

What waits is bounded. When there is no room, or the collector does not take a batch, spans are dropped and counted.
Spans are encoded a few at a time. One by one, each between other work, it took twice as long: the code and the tables
that it needs had left the processor's caches.
"""

from __future__ import annotations

import gzip
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.http_client.body import SMALL, CappedBody
from provider_gateway.http_client.errors import ClosedBeforeResponse
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.http_client.treq_post import TreqPost
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.tracing.otlp import RequestEncoder
    from provider_gateway.tracing.span import Span

#: Statuses after which a batch is sent again (OTLP, "Failures").
_AGAIN = frozenset({429, 502, 503, 504})
#: Spans that are encoded together: that takes 0.1 ms.
_FEW = 32
#: Seconds before a batch is sent again, doubled up to the last. Then it is dropped: newer spans wait behind it.
_FIRST_DELAY, _LAST_DELAY = 1.0, 8.0


class _NotTaken(Exception):
    """The collector did not take a batch, but may take it later."""


class Exporter:
    """Sends spans to one collector.

    Args:
        post: makes the requests.
        url: where they go, for the log.
        headers: of each request; they may hold secrets.
        encode: makes the bytes of a span.
        encoder: makes the bodies.
        timeout: seconds for one request.
        delay: seconds after the first span that a batch is sent, if it is not full before.
        most: spans that wait, at most.
        batch: spans of one request, at most.
        compresses: bodies are compressed with gzip.
        clock: times requests and delays.
        metrics: count spans by what becomes of them.
    """

    _log = Logger()

    def __init__(
        self,
        post: TreqPost,
        url: MaskedURL,
        headers: Mapping[str, str],
        encode: Callable[[Span], bytes],
        encoder: RequestEncoder,
        *,
        timeout: float,
        delay: float,
        most: int,
        batch: int,
        compresses: bool,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._send_request = post.send
        self._url = url
        self._headers = {**headers, "Content-Type": "application/x-protobuf"}
        if compresses:
            self._headers["Content-Encoding"] = "gzip"
        self._encode_span = encode
        self._encoder = encoder
        self._timeout = timeout
        self._delay = delay
        self._most = most
        self._batch = batch
        self._compresses = compresses
        self._clock = clock
        self._ended: list[Span] = []
        self._few = min(_FEW, batch, most)
        #: Spans that have ended after which there is something to do: one, while it is not certain that it is sent.
        self._enough = 1
        #: Encoded.
        self._waiting: deque[bytes] = deque()
        self._timer: IDelayedCall | None = None
        self._is_closing = self._is_stopped = False
        self._pause: Deferred[None] | None = None
        self._is_failing = False
        self._exported, self._dropped, self._failed = (
            metrics.spans.labels(outcome) for outcome in ("exported", "dropped", "failed")
        )
        self._sending = InFlight(lambda failure: self._log.failure("Spans could not be exported", failure))
        self._is_sending = False

    def add(self, span: Span) -> None:
        """Take a span that has ended. Without room it is dropped."""
        ended = self._ended
        ended.append(span)
        if len(ended) >= self._enough:
            self._take_ended()

    def _take_ended(self) -> None:
        """Encode the spans that have ended if they are enough, and see to it that they are sent."""
        if len(self._ended) >= self._few:
            self._encode()
            if len(self._waiting) >= self._batch and not self._is_sending:
                self._send_now()
        if self._timer is None and not self._is_sending:
            self._timer = self._clock.callLater(self._delay, self._send_now)
        self._enough = self._few

    def _encode(self) -> None:
        """Encode the spans that have ended, as far as there is room for them."""
        ended, room = self._ended, self._most - len(self._waiting)
        if len(ended) > room:
            self._dropped.inc(len(ended) - room)
            del ended[room:]
        self._waiting.extend(map(self._encode_span, ended))
        ended.clear()

    def close(self) -> Deferred[None]:
        """Send what waits, each batch once.

        Returns:
            A Deferred that fires when nothing waits any more. Whoever waits for it limits the time, and calls
            :meth:`stop`.
        """
        self._is_closing = True
        self._few = self._enough = 1
        self._encode()
        if self._pause is not None:
            self._pause.cancel()
        if not self._is_sending:
            self._send_now()
        return self._sending.empty()

    def stop(self) -> None:
        """End what is under way. What waits is dropped."""
        self._is_stopped = True
        self._sending.cancel()
        self._stop_timer()
        self._dropped.inc(len(self._waiting) + len(self._ended))
        self._waiting.clear()
        self._ended.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._enough = 1

    def _send_now(self) -> None:
        self._stop_timer()
        self._encode()
        if self._waiting:
            self._is_sending = True
            self._sending.start(self._send())

    async def _send(self) -> None:
        try:
            # A batch that is not full waits for its time again, except at the end.
            while self._waiting:
                spans = list(islice(self._waiting, self._batch))
                taken = await self._post_until_taken(self._encoder.encode(spans))
                for _ in spans:
                    self._waiting.popleft()
                (self._exported if taken else self._failed).inc(len(spans))
                if len(self._waiting) < self._batch and not self._is_closing:
                    break
        finally:
            self._is_sending = False
            if (self._waiting or self._ended) and not self._is_closing:
                self._timer = self._clock.callLater(self._delay, self._send_now)

    async def _post_until_taken(self, body: bytes) -> bool:
        """Post a batch, again if that may help; returns False if it is given up."""
        delay = _FIRST_DELAY
        body = gzip.compress(body, 1, mtime=0) if self._compresses else body
        while True:
            try:
                reason = await self._post(body)
            except _NotTaken as error:
                if not self._is_closing and delay <= _LAST_DELAY:
                    await self._back_off(delay)
                    delay *= 2
                    continue
                reason = str(error)
            self._tell(reason)
            return reason is None

    async def _back_off(self, delay: float) -> None:
        """Wait before another try; for the last one, at the end, no longer."""
        self._pause = sleep(self._clock, delay)
        try:
            await self._pause
        except CancelledError:
            if not self._is_closing or self._is_stopped:
                raise
        finally:
            self._pause = None

    async def _post(self, body: bytes) -> str | None:
        """Post once; returns why the batch is not taken, None if it is.

        Raises:
            _NotTaken: it may be taken later.
        """
        sent: Deferred[int] = Deferred.fromCoroutine(self._status_of(body))
        try:
            status = await sent.addTimeout(self._timeout, self._clock)
        except DeferredTimeoutError:
            msg = f"no answer within {self._timeout:g} s"
            raise _NotTaken(msg) from None
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever hinders it: traces must not stop the process
            raise _NotTaken(reason_of(error)) from None
        if status in _AGAIN:
            msg = f"HTTP status {status}"
            raise _NotTaken(msg)
        return None if status < 300 else f"HTTP status {status}"

    async def _status_of(self, body: bytes) -> int:
        try:
            response = await self._send_request(self._headers, body)
        except ClosedBeforeResponse:
            # The collector may just have closed an idle connection. It may see spans twice, and knows their ids.
            response = await self._send_request(self._headers, body, needs_new=True)
        answer = CappedBody(SMALL)
        response.deliverBody(answer)
        await answer.done
        return int(response.code)

    def _tell(self, reason: str | None) -> None:
        """Log the first batch of a row that is not taken, and the first one that is taken again."""
        if reason is not None and not self._is_failing:
            self._log.warn("Traces cannot be sent to {url}: {reason}", url=str(self._url), reason=reason)
        elif reason is None and self._is_failing:
            self._log.info("Traces can be sent to {url} again", url=str(self._url))
        self._is_failing = reason is not None

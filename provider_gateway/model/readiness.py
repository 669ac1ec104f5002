"""Asks whether the model takes calls: the model's ready URL, or in another protocol's way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.logger import Logger

from provider_gateway.http_client.body import SMALL, CappedBody
from provider_gateway.http_client.errors import ResponseCutOff, ResponseError
from provider_gateway.http_client.treq_post import FixedURL, RequestHeaders
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.web.iweb import IResponse

    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.http_client.treq_post import TreqClient

#: Seconds for the whole answer.
_TIMEOUT = 5.0


class AskedReadiness(ABC):
    """A model that is asked whether it is ready.

    Args:
        clock: measures the time limit.
        where: names the model in the log: its ready URL, or its address.

    Attributes:
        where: as given.
        seconds: the time limit.
    """

    _log = Logger()
    seconds = _TIMEOUT

    def __init__(self, clock: Any, where: object) -> None:
        self._clock = clock
        self.where = where
        self._is_ready = True

    async def is_ready(self) -> bool:
        """Ask. A change is logged.

        Raises:
            CancelledError: the caller cancelled the question.
        """
        reason = await self.why_not()
        is_ready = reason is None
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            if is_ready:
                self._log.info("The model is ready by {url}", url=str(self.where))
            else:
                self._log.warn("The model is not ready by {url}: {reason}", url=str(self.where), reason=reason)
        return is_ready

    async def why_not(self) -> str | None:
        """Ask, without a line in the log.

        Returns:
            None if the model is ready, else the reason why not.

        Raises:
            CancelledError: the caller cancelled the question.
        """
        asking = Deferred.fromCoroutine(self.reason())
        asking.addTimeout(self.seconds, self._clock)
        try:
            return await asking
        except DeferredTimeoutError:
            return f"no answer within {self.seconds:g} s"
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps it from answering, the model is not ready
            return reason_of(error)

    @abstractmethod
    async def reason(self) -> str | None:
        """Ask, without a time limit; returns None if the model is ready, else the reason why not."""


class Readiness(AskedReadiness):
    """The ready URL of a model.

    Args:
        clock: measures the time limit.
        client: from :func:`~provider_gateway.model.client.model_client`.
        url: any status of 2xx says that the model is ready. Redirects are not followed.
        headers: sent with each question.
    """

    def __init__(
        self, clock: Any, client: TreqClient, url: MaskedURL, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(clock, url)
        self._client = client
        self._fixed = FixedURL.of(url.reveal())
        self._headers = RequestHeaders(headers or {})

    async def reason(self) -> str | None:
        """Ask the URL."""
        status = await self._status()
        return None if 200 <= status < 300 else f"HTTP status {status}"

    async def _status(self) -> int:
        try:
            response = await self._get()
        except ResponseCutOff:
            # The model may just have closed an idle connection. A GET may be sent again (RFC 9110, 9.2.2).
            response = await self._get()
        # The body is read, so that the connection can be used again; what it says does not matter.
        body = CappedBody(SMALL)
        response.deliverBody(body)
        with suppress(ResponseError):
            await body.done
        status: int = response.code
        return status

    async def _get(self) -> IResponse:
        try:
            response: IResponse = await self._client.get(self._fixed, headers=self._headers)
        except ConnectingCancelledError:
            raise CancelledError from None
        return response

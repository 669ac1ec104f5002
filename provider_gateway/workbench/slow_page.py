"""A page that takes long: its beginning is sent at once, and how far the work is, until the rest is there.

So somebody who opens a queue of 50,000 messages sees that they are being looked at; no script is needed for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from provider_gateway.http_server.problems import error_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.parking.looks import Progress
    from provider_gateway.parking.operators import Operator
    from provider_gateway.workbench.answers import Answers

#: Seconds after which the beginning is sent, and between two words about the progress.
_PATIENCE, _EVERY = 0.7, 1.0
#: Where the beginning ends (base.html). No text of others has it: they are escaped.
_END_OF_BEGINNING = b"<!-- beginning -->"


class SlowPage:
    """One response.

    Args:
        title: of the page.
    """

    def __init__(
        self, request: Any, operator: Operator, answers: Answers, clock: IReactorTime, *, view: str, title: str
    ) -> None:
        self._request = request
        self._operator = operator
        self._answers = answers
        self._clock = clock
        self._view = view
        self._title = title
        self._has_begun = False
        self._told = 0.0

    async def made_by(self, work: Coroutine[Deferred[Any], Any, bytes]) -> bytes:
        """Respond with the page that some work makes; returns what of it is still to be sent."""
        timer: Any = self._clock.callLater(_PATIENCE, self._begin)
        try:
            page = await Deferred.fromCoroutine(work)
        except CancelledError:
            raise  # the client has left
        except Exception:
            if not self._has_begun:
                raise
            page = self._answers.problem(self._request, self._operator, error_of(Failure()))
        finally:
            if timer.active():
                timer.cancel()
        return b"</div>" + page.partition(_END_OF_BEGINNING)[2] if self._has_begun else page

    def tell(self, progress: Progress) -> None:
        """Say how far the work is, if the beginning was sent."""
        now = self._clock.seconds()
        if self._has_begun and now - self._told >= _EVERY and not self._is_unable_to_write():
            self._told = now
            self._request.write(b"<p>%s of %s</p>\n" % (f"{progress.seen:,}".encode(), f"{progress.total:,}".encode()))

    def _begin(self) -> None:
        if self._request.method == b"HEAD" or self._is_unable_to_write():
            return
        page = self._answers.page(self._request, self._operator, self._view, "looking", title=self._title)
        self._request.begin_without_length()
        self._request.write(page.partition(_END_OF_BEGINNING)[0])
        self._has_begun = True

    def _is_unable_to_write(self) -> bool:
        return bool(self._request.is_lost or self._request.channel.is_congested)

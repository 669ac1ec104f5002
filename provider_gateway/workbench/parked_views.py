"""The views of what is parked: the parking queues, the messages of one, one message, and a job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provider_gateway.errors import BadRequest, GatewayError, NotFound
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.workbench import bodies, texts
from provider_gateway.workbench.access import RIGHTS
from provider_gateway.workbench.documents import path_of
from provider_gateway.workbench.live import may_see
from provider_gateway.workbench.message_pairs import pairs_of
from provider_gateway.workbench.queries import Conditions, whole_number
from provider_gateway.workbench.rendering import quoted
from provider_gateway.workbench.slow_page import SlowPage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.parking.looks import Progress
    from provider_gateway.parking.operators import Operator
    from provider_gateway.parking.parking import Parking
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.answers import Answers
    from provider_gateway.workbench.turns import Turns

#: Messages on one page.
_PAGE_SIZE = 100
_ID = re.compile(r"[0-9a-f]{1,64}")
_VIEW = "parking"
#: What jobs do. Looks, which are the same to the engine, are no jobs here.
_ACTIONS = ("replay", "drop")


def id_of(query: Mapping[str, str], name: str = "id") -> str:
    """An id in a query.

    Raises:
        BadRequest: it is none.
    """
    id_ = query.get(name, "")
    if not _ID.fullmatch(id_):
        msg = f"The parameter {name} is no id that this page gives."
        raise BadRequest(msg)
    return id_


class ParkedViews:
    """Makes the views of what is parked.

    Args:
        access: knows who may do what.
        turns: of the looks.
    """

    def __init__(
        self,
        parking: Parking,
        access: Access,
        answers: Answers,
        turns: Turns,
        *,
        clock: IReactorTime,
        wall_clock: WallClock,
    ) -> None:
        self._clock = clock
        self._parking = parking
        self._access = access
        self._answers = answers
        self._turns = turns
        self._wall_clock = wall_clock

    async def queues(self, request: Any, operator: Operator) -> bytes:
        """The parking queues, and the last jobs."""
        counts = await self._turns.run(self._parking.counts)
        places = [
            {
                "queue": queue,
                "parking": place.parking.name,
                "messages": counts.get(queue),
                "rights": self._access.rights(operator, queue),
            }
            for queue, place in self._parking.places.items()
            if may_see(operator, queue)
        ]
        jobs = [job.document for job in self._parking.jobs.values() if may_see(operator, job.document.queue)]
        return self._answers.page(request, operator, _VIEW, places=places, jobs=jobs[::-1])

    async def messages(self, request: Any, operator: Operator, query: Mapping[str, str]) -> bytes:
        """The messages of a parking queue that fit the filter in the query."""
        queue = query["queue"]
        self._access.check(operator, queue, None, "list")
        title = f"Parked messages of {queue}"
        page = SlowPage(request, operator, self._answers, self._clock, view=_VIEW, title=title)
        found = self._messages(request, operator, queue, query, page.tell)
        return await page.made_by(self._unless_busy(request, operator, queue, found))

    async def _messages(
        self,
        request: Any,
        operator: Operator,
        queue: str,
        query: Mapping[str, str],
        on_progress: Callable[[Progress], object],
    ) -> bytes:
        conditions = Conditions.of(query, self._wall_clock())
        if conditions.filter.grep is not None:
            self._access.check(operator, queue, "read", "search")
        after = whole_number(query, "after", -1)
        look = await self._turns.run(
            lambda: self._parking.look(
                queue,
                conditions.filter,
                operator=operator,
                limit=_PAGE_SIZE,
                after=after,
                on_progress=on_progress,
            )
        )
        first = max(1, whole_number(query, "first", 1))
        return self._answers.page(
            request,
            operator,
            _VIEW,
            "queue",
            queue=queue,
            look=look,
            first=first,
            last=first + len(look.messages) - 1,
            page_size=_PAGE_SIZE,
            given=conditions.given,
            is_filtered=not conditions.is_everything,
            api_filter=conditions.document(),
            filter_url=lambda **more: conditions.address(queue, **more),
            message_url=lambda id_: _address(queue, id_),
            **self._rights(operator, queue),
        )

    async def message(self, request: Any, operator: Operator, query: Mapping[str, str]) -> bytes:
        """One parked message in full."""
        queue, id_ = query.get("queue", ""), id_of(query)
        self._access.check(operator, queue, "read", "show")
        form = query.get("as")
        return await self._unless_busy(request, operator, queue, self._message(request, operator, queue, id_, form))

    async def _message(self, request: Any, operator: Operator, queue: str, id_: str, form: str | None) -> bytes:
        message, body = await self._turns.run(lambda: self._parking.show(queue, id_, operator=operator))
        return self._answers.page(
            request,
            operator,
            _VIEW,
            "message",
            queue=queue,
            message=message,
            pairs=pairs_of(message),
            body=bodies.show(body, message.content_encoding, form),
            body_url=path_of(queue, id_, "body"),
            form_url=lambda each: f"{_address(queue, id_)}&as={each}",
            **self._rights(operator, queue),
        )

    async def job(self, request: Any, operator: Operator, query: Mapping[str, str]) -> bytes:
        """A job, and how far it is."""
        id_ = id_of(query)
        job = await self._turns.run(lambda: self._parking.job(id_))
        if job is None or job.action not in _ACTIONS or not may_see(operator, job.queue):
            msg = "There is no such job any more: the last ones are known, and only as long as their process runs."
            raise NotFound(msg)
        return self._answers.page(
            request,
            operator,
            _VIEW,
            "job",
            job=job,
            is_over=job.is_over,
            text=texts.progress(job),
            title=texts.title(job),
            may_cancel=not job.is_over and operator.may("drop" if job.action == "drop" else "replay", job.queue),
        )

    def _rights(self, operator: Operator, queue: str) -> dict[str, object]:
        """What templates need to know of a queue, so that they offer what is allowed."""
        place = self._parking.places[queue]
        return {
            "may": {right: operator.may(right, queue) for right in RIGHTS},
            "parking": place.parking.name,
            "api_path": path_of(queue),
            "max_replays": place.max_replays,
        }

    async def _unless_busy(
        self, request: Any, operator: Operator, queue: str, looking: Coroutine[Any, Any, bytes]
    ) -> bytes:
        """Respond with a page that takes a look. If somebody else is at the queue, say who, and how far it is."""
        try:
            return await looking
        except ParkingBusy as error:
            try:
                job = (await self._turns.run(self._parking.at_work)).get(queue)
            except GatewayError:
                job = None
            return self._answers.problem(
                request, operator, error, job if job is not None and job.action in _ACTIONS else None
            )


def _address(queue: str, id_: str) -> str:
    return f"/workbench/message?queue={quoted(queue)}&id={id_}"

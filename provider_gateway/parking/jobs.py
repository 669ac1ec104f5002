"""Jobs on parking queues as values: what is to be done, and how far it is."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from provider_gateway.parking.filters import Filter

if TYPE_CHECKING:
    from provider_gateway.parking.operators import Operator

Action = Literal["look", "replay", "drop", "export"]
State = Literal["counting", "running", "done", "canceled", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What an operator wants to be done with parked messages.

    Attributes:
        action: ``replay`` or ``drop``.
        queue: the work queue's name.
        rate: messages a second, at most; None for as fast as it goes.
        expected_count: how many messages match, as the operator saw it; None for any number.
        force: replay also what was replayed ``maxReplays`` times.
        dry_run: count only.
        why: what the operator gives as the reason, for the audit log.
    """

    action: Literal["replay", "drop"]
    queue: str
    operator: Operator
    filter: Filter = field(default_factory=Filter)
    rate: float | None = None
    expected_count: int | None = None
    force: bool = False
    dry_run: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDocument:
    """A job, or a look, and how far it is. Times are seconds since 1970.

    Attributes:
        id: random hexadecimal digits.
        filter: :meth:`.Filter.document` of its filter; without the ids if they are many.
        operator: name of the operator.
        host: where from.
        process: the process that does it.
        state: ``counting`` until it is known how many messages match.
        total: messages to act on; those that a look has to look at.
        done: messages that were acted on, or looked at. With ``dry_run``: those that would have been.
        skipped: replayed ``maxReplays`` times before, and not forced.
        missing: gone meanwhile.
        failed: could not be published; they stay parked.
        error: why it failed, or the last message did.
    """

    id: str
    queue: str
    action: Action
    operator: str
    host: str
    process: str
    created: float
    updated: float
    filter: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    finished: float | None = None
    state: State = "counting"
    total: int | None = None
    done: int = 0
    skipped: int = 0
    missing: int = 0
    failed: int = 0
    error: str = ""
    dry_run: bool = False
    rate: float | None = None

    @property
    def is_over(self) -> bool:
        """True if it is done, canceled or failed."""
        return self.state not in ("counting", "running")

    def as_dict(self) -> dict[str, Any]:
        """The document as JSON has it."""
        return asdict(self)


def fresh_document(
    action: Action, queue: str, operator: Operator, *, process: str, now: float, **more: Any
) -> JobDocument:
    """The document of a job, or look, that begins."""
    return JobDocument(
        id=secrets.token_hex(8),
        action=action,
        queue=queue,
        operator=operator.name,
        host=operator.host,
        process=process,
        created=now,
        updated=now,
        **more,
    )

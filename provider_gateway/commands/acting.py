"""The commands that change something: ``parking replay`` and ``drop``. They ask first, and say what was done."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import click

from provider_gateway.commands.documents import ended, line
from provider_gateway.commands.looking import look_at
from provider_gateway.commands.opening import this_user, work_queue
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.commands.progress import progress
from provider_gateway.commands.running import interruptible
from provider_gateway.commands.shown import groups_table, looked_line
from provider_gateway.commands.writing import Writer, terminal_width
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.workbench.texts import count, visible

if TYPE_CHECKING:
    from provider_gateway.commands.options import Wanted
    from provider_gateway.commands.running import Interruption
    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.parking import Parking

_DONE = {"replay": "replayed", "drop": "dropped"}


@dataclass(frozen=True)
class Act:
    """What is to be done, and how."""

    action: Literal["replay", "drop"]
    rate: float | None
    dry_run: bool
    yes: bool
    force: bool = False


async def act(reactor: Any, parking: Parking, wanted: Wanted, interruption: Interruption, what: Act) -> int:
    """Replay or drop the messages that match."""
    queue = work_queue(parking.places, wanted.queue)
    filter_ = wanted.filter
    if not what.yes and not what.dry_run:
        filter_ = await _agreed(reactor, parking, queue, filter_, what)
    job = parking.start(
        JobRequest(
            action=what.action,
            queue=queue,
            operator=this_user(),
            filter=filter_,
            rate=what.rate,
            force=what.force,
            dry_run=what.dry_run,
            why=wanted.why,
        )
    )
    stopping = "stopping: what is in flight is settled first (Ctrl-C again ends at once)"
    with (
        interruption.ends(job.cancel, stopping),
        progress(reactor, f"{what.action.capitalize()} {visible(queue)}") as bar,
    ):
        unwatch = job.watch(lambda at: bar.show(_passed(at), at.total))
        try:
            await job.counted()
            found = await job.when_over()
        finally:
            unwatch()
    writer = Writer(reactor)
    await writer.add(line(ended(found)) if wanted.is_plain else f"{summary(found)}\n")
    await writer.flush()
    if found.state == "failed":
        await job.counted()  # raises if nothing was done: "busy" has a status of its own
    if found.error:
        click.echo(f"provider-gateway: {visible(found.error)}", err=True)
    if interruption.signal is not None and found.state != "done":
        return interruption.status
    return _status(found)


async def _agreed(reactor: Any, parking: Parking, queue: str, filter_: Filter, what: Act) -> Filter:
    """Ask the user; returns a filter for exactly the messages that were agreed on, whatever is parked meanwhile.

    Raises:
        Ended: nothing matches, or the user does not agree.
        KeyboardInterrupt: the user has interrupted the question.
    """
    ids: set[str] = set()

    def note(message: ParkedMessage, _body: bytes) -> None:
        ids.add(message.id)

    look = await look_at(reactor, parking, queue, filter_, limit=0, on_message=note)
    click.echo(looked_line(look), err=True)
    if not look.matching:
        msg = f"{queue}: no message matches; nothing was done"
        raise Ended(msg, Status.NOTHING)
    click.echo(groups_table(look.groups, look.at, terminal_width()), err=True, nl=False)
    these = ("all " if 1 < look.matching == look.total else "") + count(look.matching, "message")
    end = " for good" if what.action == "drop" else ""
    _ask(f"{what.action.capitalize()} {these}{end}?")
    return replace(filter_, ids=frozenset(ids))


def _ask(question: str) -> None:
    """Ask a question on standard error. No connection is open meanwhile, so it may take its time.

    Raises:
        Ended: the answer is no, or there is none.
        KeyboardInterrupt: the user has interrupted the question.
    """
    with interruptible():
        click.echo(f"{question} [y/N] ", err=True, nl=False)
        answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer:
        msg = "nobody is there to answer; nothing was done: --yes goes ahead without asking, --dry-run only counts"
        click.echo(err=True)
        raise Ended(msg, Status.USAGE)
    if answer.strip().lower() not in ("y", "yes"):
        msg = "canceled; nothing was done"
        raise Ended(msg)


def _passed(at: JobDocument) -> int:
    return at.done + at.skipped + at.missing + at.failed


def summary(found: JobDocument) -> str:
    """What was done, in one line."""
    verb = f"would be {_DONE[found.action]}" if found.dry_run else _DONE[found.action]
    parts = [f"{visible(found.queue)}: {count(found.done, 'message')} {verb}"]
    if found.failed:
        parts.append(f"{found.failed:,} could not be published and stay parked")
    if found.skipped:
        parts.append(f"{found.skipped:,} left out, which were replayed too often (--force replays them)")
    if found.missing:
        parts.append(f"{found.missing:,} gone meanwhile")
    left = (found.total or 0) - _passed(found)
    if left > 0 and not found.dry_run:
        parts.append(f"{left:,} not reached, and still parked")
    if found.state in ("canceled", "failed"):
        parts.append(found.state)
    return "; ".join(parts)


def _status(found: JobDocument) -> int:
    if found.state != "done" or found.failed or found.skipped or found.missing:
        return Status.FAILED
    return Status.DONE if found.total else Status.NOTHING

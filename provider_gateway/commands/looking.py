"""The commands that change nothing: ``parking list``, ``show`` and ``export``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from provider_gateway.commands.documents import line, listed, looked, whole
from provider_gateway.commands.opening import this_user, work_queue
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.commands.progress import progress
from provider_gateway.commands.shown import groups_table, list_table, looked_line, reasons, shown_body, whole as shown
from provider_gateway.commands.table import table
from provider_gateway.commands.writing import Writer, terminal_width
from provider_gateway.errors import GatewayError
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.parking.filters import Filter
from provider_gateway.workbench.documents import operator_document
from provider_gateway.workbench.texts import age, count, number as figure, visible

if TYPE_CHECKING:
    from provider_gateway.commands.options import Wanted
    from provider_gateway.parking.looks import Look, Progress
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.parking import Parking

#: Rows of a list on a terminal, unless more are asked for.
_ROWS = 100
#: Lines that are kept as one text.
_TOGETHER = 1000
_QUEUES = ("QUEUE", "PARKED", "MATCHING", "OLDEST", "REASONS")
_ALWAYS = ("QUEUE", "PARKED", "OLDEST", "REASONS")


async def list_queues(reactor: Any, parking: Parking, wanted: Wanted) -> int:
    """Show all queues with the number of their messages, by reason."""
    counts, at_work = await parking.counts(), await parking.at_work()
    writer, rows, status = Writer(reactor), [], Status.DONE
    for queue, number in counts.items():
        document: dict[str, Any] = {"queue": queue, "parking": parking.places[queue].parking.name, "messages": number}
        row = [queue, figure(number), "", "", "" if number is not None else "not declared yet"]
        if number:
            try:
                look = await look_at(reactor, parking, queue, wanted.filter, limit=0)
            except GatewayError as error:
                status = Status.BUSY if isinstance(error, ParkingBusy) else Status.FAILED
                row[4] = document["error"] = str(error)
            else:
                document = looked(look)
                oldest = min((each.oldest for each in look.groups if each.oldest is not None), default=None)
                matching = "" if wanted.filter.is_everything else f"{look.matching:,}"
                row = [queue, f"{look.total:,}", matching, age(oldest, look.at), reasons(look.groups)]
        if queue in at_work:
            document["operator"] = operator_document(at_work[queue])
        rows.append(row)
        if wanted.is_plain:
            await writer.add(line(document))
    if not wanted.is_plain:
        await writer.add(table(_QUEUES, rows, cells=terminal_width(), right=("PARKED", "MATCHING"), always=_ALWAYS))
    await writer.flush()
    return status


async def list_messages(reactor: Any, parking: Parking, wanted: Wanted) -> int:
    """Show the messages of one queue."""
    queue = work_queue(parking.places, wanted.queue)
    # The queue is held for as long as the look takes, and not for as long as somebody reads the list.
    lines: list[str] = []
    pieces: list[str] = []

    def note(message: ParkedMessage, _body: bytes) -> None:
        lines.append(line(listed(queue, message)))
        if len(lines) == _TOGETHER:  # many small texts take more memory
            pieces.append("".join(lines))
            lines.clear()

    limit = 0 if wanted.is_plain else wanted.filter.limit or _ROWS
    on_message = note if wanted.is_plain else None
    look = await look_at(reactor, parking, queue, wanted.filter, limit=limit, on_message=on_message)
    writer = Writer(reactor)
    if not wanted.is_plain:
        lines = [_list_text(look, terminal_width())]
    elif _is_part(look, wanted.filter.limit):
        _say(looked_line(look))
    for each in (*pieces, *lines):
        await writer.add(each)
    await writer.flush()
    return Status.NOTHING if not look.matching and not wanted.filter.is_everything else Status.DONE


async def show(reactor: Any, parking: Parking, wanted: Wanted, *, body_only: bool) -> int:
    """Show the one message that matches."""
    queue = work_queue(parking.places, wanted.queue)
    ids = wanted.filter.ids or frozenset()
    if len(ids) != 1 or wanted.filter != Filter(ids=ids):
        look = await look_at(reactor, parking, queue, wanted.filter, limit=_ROWS)
        ids = frozenset(each.id for each in look.messages)
        if not ids:
            raise Ended(_nothing(look), Status.NOTHING)
        if len(ids) > 1:
            _say(list_table(look.messages, look.at, terminal_width()).rstrip())
            msg = f"{count(look.matching, 'message')} match: choose one with --id"
            raise Ended(msg, Status.USAGE)
    message, body = await parking.show(queue, next(iter(ids)), operator=this_user(), why=wanted.why)
    writer = Writer(reactor)
    if not body_only:
        text = (
            line(whole(queue, message, body)) if wanted.is_plain else shown(queue, message, body, wanted.wall_clock())
        )
        await writer.add(text)
    elif wanted.is_plain and sys.stdout is not None:
        sys.stdout.buffer.write(body)
    else:
        await writer.add("".join(f"{each}\n" for each in shown_body(body, message.content_encoding)))
    await writer.flush()
    return Status.DONE


async def export(reactor: Any, parking: Parking, wanted: Wanted) -> int:
    """Write all messages that match, with headers and bodies, as JSON lines."""
    queue = work_queue(parking.places, wanted.queue)
    writer = Writer(reactor)

    async def write(message: ParkedMessage, body: bytes) -> None:
        await writer.add(line(whole(queue, message, body)))

    with progress(reactor, f"Exporting {visible(queue)}") as bar:
        look = await parking.export(
            queue, wanted.filter, write, operator=this_user(), why=wanted.why, on_progress=lambda at: _show(bar, at)
        )
    await writer.flush()
    _say(f"{count(look.matching, 'message')} exported; {'it stays' if look.matching == 1 else 'they stay'} parked")
    if _is_part(look, wanted.filter.limit):
        raise Ended(looked_line(look))
    return Status.DONE if look.matching else Status.NOTHING


async def look_at(reactor: Any, parking: Parking, queue: str, filter_: Filter, **more: Any) -> Look:
    """Look into a queue, with a progress bar if it takes a while."""
    with progress(reactor, f"Looking into {visible(queue)}") as bar:
        return await parking.look(queue, filter_, operator=this_user(), on_progress=lambda at: _show(bar, at), **more)


def _is_part(look: Look, limit: int | None) -> bool:
    """True if there were too many messages for one look. One that ends at its limit is whole."""
    return look.looked_at < look.total and (limit is None or look.matching < limit)


def _show(bar: Any, at: Progress) -> None:
    bar.show(at.seen, at.total)


def _nothing(look: Look) -> str:
    return f"{look.queue}: none of {count(look.looked_at, 'message')} in {look.parking} matches"


def _list_text(look: Look, cells: int) -> str:
    parts = [looked_line(look) + "\n"]
    if look.messages:
        parts += ["\n", groups_table(look.groups, look.at, cells), "\n", list_table(look.messages, look.at, cells)]
    if len(look.messages) < look.matching:
        parts.append(f"\nThe first {len(look.messages):,} of {look.matching:,} are listed: --limit N lists more.\n")
    return "".join(parts)


def _say(text: str) -> None:
    """Tell people something beside the output."""
    click.echo(text, err=True)

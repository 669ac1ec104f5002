"""The options of the parking commands, and what they ask for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from provider_gateway.commands.opening import Files, queue_names
from provider_gateway.parking.errors import FilterError
from provider_gateway.parking.filters import Filter
from provider_gateway.workbench.texts import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider_gateway.clocks import WallClock

Command = TypeVar("Command", bound="Callable[..., Any]")

_FILE = click.Path(path_type=Path)
_MAX_WHY = 1000


@dataclass(frozen=True)
class Wanted:
    """What every parking command is told.

    Attributes:
        queue: as the user named it; None for none.
        is_plain: write JSON lines, for programs.
        wall_clock: has the date.
    """

    files: Files
    queue: str | None
    filter: Filter
    is_plain: bool
    wall_clock: WallClock
    why: str = ""


def _complete_queue(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        names = queue_names(Files(context.params.get("env_file"), context.params.get("queues")))
    except Exception:  # noqa: BLE001 - whatever is wrong with the files: while one types is no time to say it
        return []
    return [name for name in names if name.startswith(incomplete)]


def _complete_reason(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [reason for reason in REASONS if reason.startswith(incomplete)]


_QUEUE = click.option(
    "-q", "--queue", metavar="QUEUE", shell_complete=_complete_queue,
    help="The work queue whose messages were parked. Needed if there are several.",
)  # fmt: skip
_FILTER = (
    click.option("--id", "ids", multiple=True, metavar="ID", help="The message with this id; may be repeated."),
    click.option(
        "--reason", "reasons", multiple=True, metavar="REASON", shell_complete=_complete_reason,
        help="Parked for this reason, such as timeout; may be repeated.",
    ),
    click.option("--rquid", metavar="ID", help="With this request id (RqUID)."),
    click.option("--identity", metavar="NAME", help="From this caller."),
    click.option("--since", metavar="TIME", help="Parked since: a date such as 2026-01-31T08:00Z, or 2h, 30m, 7d ago."),
    click.option("--older-than", metavar="TIME", help="Parked before: the same."),
    click.option("--grep", metavar="PATTERN", help="With this regular expression (RE2) in a header or the body."),
    click.option("--limit", metavar="N", help="At most so many, from the head of the queue."),
)  # fmt: skip
_FILES = (
    click.option("--queues", type=_FILE, metavar="FILE", help="The queue file; otherwise QUEUES_CONF."),
    click.option("--env-file", type=_FILE, metavar="FILE", help="A file with variables; otherwise .env."),
    click.option(
        "-o", "--output", type=click.Choice(["table", "json"]),
        help="What to write; otherwise a table on a terminal, and JSON lines elsewhere.",
    ),
)  # fmt: skip
WHY = click.option("--why", default="", metavar="TEXT", help="Why you do it, for the audit log.")
_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_DRY_RUN = click.option("-n", "--dry-run", is_flag=True, help="Say how many messages it would be, and do nothing.")
_RATE = click.option("--rate", type=float, metavar="N", help="At most so many messages a second.")
#: Options of commands that change something.
ACTING = (_RATE, _DRY_RUN, _YES, WHY)


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {each}" for each in commands)])


def with_options(*more: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Give a command the options that all parking commands have, and more behind the filter."""

    def decorate(command: Command) -> Command:
        decorated: Any = command
        for option in reversed((_QUEUE, *_FILTER, *more, *_FILES)):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return] # the same function, with options noted on it

    return decorate


def wanted(given: dict[str, Any]) -> Wanted:
    """What the options ask for. The wall clock is the object of click's context.

    Args:
        given: values by the parameters' names; those of :func:`with_options` are taken out.

    Raises:
        click.UsageError: a value is malformed. An empty one is: it may come from a variable that is not set, and
            without the condition everything would match.
    """
    wall_clock: WallClock = click.get_current_context().obj
    files = Files(given.pop("env_file"), given.pop("queues"))
    queue, output, why = given.pop("queue"), given.pop("output"), given.pop("why", "")
    if queue == "":
        msg = "--queue: expected a name, found an empty text"
        raise click.UsageError(msg)
    if len(why) > _MAX_WHY:
        msg = f"--why: expected at most {_MAX_WHY} characters"
        raise click.UsageError(msg)
    names = ("rquid", "identity", "since", "older_than", "grep", "limit")
    conditions: dict[str, Any] = {name: given.pop(name) for name in names}
    ids: Sequence[str] = given.pop("ids")
    try:
        meant = Filter.from_values(now=wall_clock(), ids=ids or None, reasons=given.pop("reasons"), **conditions)
    except FilterError as error:
        name, _, text = str(error).partition(": ")
        raise click.UsageError(f"--{name.replace('_', '-')}: {text}") from None
    return Wanted(files, queue, meant, _is_plain(output), wall_clock, why)


def check_rate(rate: float | None) -> None:
    """Check ``--rate``.

    Raises:
        click.UsageError: it is no positive number.
    """
    if rate is not None and not 0 < rate < float("inf"):
        msg = f"--rate: expected a number above 0, found {rate:g}"
        raise click.UsageError(msg)


def _is_plain(output: str | None) -> bool:
    if output is not None:
        return output == "json"
    return sys.stdout is None or not sys.stdout.isatty()

"""``provider-gateway parking``: the commands for parked messages, with their options and their help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provider_gateway.commands.acting import Act, act
from provider_gateway.commands.looking import export, list_messages, list_queues, show
from provider_gateway.commands.opening import open_parking
from provider_gateway.commands.options import ACTING, WHY, check_rate, examples, wanted, with_options
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.commands.running import Interruption, run
from provider_gateway.errors import GatewayError
from provider_gateway.parking.errors import NoSuchMessage, ParkingBusy
from provider_gateway.workbench.texts import visible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provider_gateway.commands.options import Wanted
    from provider_gateway.parking.parking import Parking


@click.group(
    epilog=examples(
        "provider-gateway parking list",
        "provider-gateway parking list --queue fib --reason timeout --since 12h",
        "provider-gateway parking show --queue fib --rquid 52-52-52-52",
        "provider-gateway parking replay --queue fib --reason timeout",
        'provider-gateway parking drop --queue fib --older-than 30d --why "too old to be of use"',
    )
)
def parking() -> None:
    """See the messages that were parked, send them again, or drop them.

    A message is parked if it could be neither answered nor tried again. It stays in the queue <queue>.parking until
    somebody decides. Looking changes nothing. While one command works on a parking queue, another one is told so.
    """


@parking.command(
    "list",
    epilog=examples(
        "provider-gateway parking list",
        "provider-gateway parking list --queue fib",
        'provider-gateway parking list --queue fib --grep \'"user": *"alice"\'',
        "provider-gateway parking list --queue fib | jq -r .rquid",
    ),
)
@with_options()
def list_(**given: Any) -> int:
    """List the queues with what is parked; with --queue, the messages.

    On a terminal the first 100 messages are listed, in the order of the queue. In a pipe, every message is a JSON line.
    """
    asked = wanted(given)
    listing = list_queues if asked.queue is None else list_messages
    return _run(asked, lambda reactor, parking, _: listing(reactor, parking, asked))


@parking.command(
    "show",
    epilog=examples(
        "provider-gateway parking show --queue fib --id 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "provider-gateway parking show --queue fib --rquid 52-52-52-52",
        "provider-gateway parking show --queue fib --rquid 52-52-52-52 --body > body",
    ),
)
@with_options(click.option("--body", is_flag=True, help="Only the body; in a pipe or a file, byte for byte."), WHY)
def show_(*, body: bool, **given: Any) -> int:
    """Show one message with headers and body.

    The audit log says that it was read.
    """
    asked = wanted(given)
    return _run(asked, lambda reactor, parking, _: show(reactor, parking, asked, body_only=body))


@parking.command(
    epilog=examples(
        "provider-gateway parking replay --queue fib --reason timeout",
        "provider-gateway parking replay --queue fib --since 12h --rate 50 --yes",
        "provider-gateway parking replay --queue fib --limit 1",
        "provider-gateway parking replay --queue fib --dry-run",
    )
)
@with_options(*ACTING, click.option("--force", is_flag=True, help="Also what was replayed maxReplays times already."))
def replay(*, rate: float | None, dry_run: bool, yes: bool, force: bool, **given: Any) -> int:
    """Send messages to their work queue again, and take them out of the parking queue.

    It asks first, and acts on exactly the messages that it found then. What cannot be published stays parked. Ctrl-C
    ends it in order; nothing is lost, and a second call goes on with the rest.
    """
    check_rate(rate)
    asked, what = wanted(given), Act("replay", rate, dry_run, yes, force)
    return _run(asked, lambda reactor, parking, at: act(reactor, parking, asked, at, what))


@parking.command(
    epilog=examples(
        "provider-gateway parking drop --queue fib --id 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "provider-gateway parking drop --queue fib --older-than 30d --dry-run",
    )
)
@with_options(*ACTING)
def drop(*, rate: float | None, dry_run: bool, yes: bool, **given: Any) -> int:
    """Delete messages for good.

    It asks first, and deletes exactly the messages that it found then. Each one has a line in the audit log; export
    keeps a copy.
    """
    check_rate(rate)
    asked, what = wanted(given), Act("drop", rate, dry_run, yes)
    return _run(asked, lambda reactor, parking, at: act(reactor, parking, asked, at, what))


@parking.command(
    "export",
    epilog=examples(
        "provider-gateway parking export --queue fib > parked.jsonl",
        "provider-gateway parking export --queue fib --reason timeout | jq -r .body.text",
    ),
)
@with_options(WHY)
def export_(**given: Any) -> int:
    """Write messages with headers and bodies to standard output, one JSON object a line. They stay parked.

    Each message has a line in the audit log.
    """
    asked = wanted(given)
    return _run(asked, lambda reactor, parking, _: export(reactor, parking, asked))


def _run(asked: Wanted, work: Callable[[Any, Parking, Interruption], Awaitable[int]]) -> int:
    """Open the parking queues, work on them, and say where the audit log is."""

    async def opened(reactor: Any, interruption: Interruption) -> int:
        queues, audit = open_parking(reactor, asked.files, asked.wall_clock)
        try:
            return await work(reactor, queues, interruption)
        except BrokenPipeError:
            raise Ended("", Status.NO_READER) from None
        except ParkingBusy as error:
            raise Ended(str(error), Status.BUSY) from None
        except NoSuchMessage as error:
            raise Ended(str(error), Status.NOTHING) from None
        except GatewayError as error:
            raise Ended(str(error)) from None
        finally:
            await queues.stop()
            if audit.lines and audit.path is not None:
                click.echo(f"Audit log: {visible(str(audit.path))}", err=True)

    return run(opened)

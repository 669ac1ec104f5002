"""The console script: its commands, and how each of them ends. No error of a user is a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from provider_gateway import __version__
from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.commands.options import examples
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.commands.parking import parking
from provider_gateway.errors import SettingsError
from provider_gateway.workbench.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Starts the process. -P: nothing is imported from the working directory.
_TWISTD = (
    *(sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"),
    *("--nodaemon", "--pidfile=", "provider-gateway"),
)
_FILE = click.Path(path_type=Path)
#: What is added to the niceness of commands for parked messages: they get the time that requests leave, as in a
#: container of the gateway, where both have the same processors.
_NICE = 10


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Exit status: 0 done, 1 failed or done in part, 2 wrong usage, 3 nothing
matched, 4 somebody else is at the parking queue, 130 interrupted.

\b
Completion for bash:
    eval "$(_PROVIDER_GATEWAY_COMPLETE=bash_source provider-gateway)"
""",
)
@click.version_option(__version__, prog_name="provider-gateway", message="%(prog)s %(version)s")
def commands() -> None:
    """Look after a provider-gateway: check its settings, describe its interface, and see to messages that were parked.

    The settings are those of the process: the environment, .env and the queue file. In a container it finds them there:
    "oc exec deployment/provider-gateway -- provider-gateway parking list". The process itself is started with
    "twistd -n provider-gateway".
    """


commands.add_command(parking)


_queues = click.option("--queues", type=_FILE, metavar="FILE", help="The queue file; otherwise QUEUES_CONF.")
_env_file = click.option("--env-file", type=_FILE, metavar="FILE", help="A file with variables; otherwise .env.")


@commands.command(
    epilog=examples(
        "provider-gateway check",
        "provider-gateway check --connect",
        "provider-gateway check --env-file my/gateway.env --queues my/queues.yaml",
    )
)
@click.option("--connect", is_flag=True, help="Also try broker, topology, models and result store; changes nothing.")
@click.option("--role", metavar="ROLES", help="Roles to check, separated by commas: gateway, provider.")
@_queues
@_env_file
def check(*, connect: bool, role: str | None, queues: Path | None, env_file: Path | None) -> None:
    """Check settings and files, and print the settings in force, secrets masked.

    It is "twistd provider-gateway --check".
    """
    flags = ["--check", *(["--connect"] if connect else [])]
    _become(flags, (("--role", role), ("--queues", queues), ("--env-file", env_file)))


@commands.command(
    epilog=examples(
        "provider-gateway openapi >openapi.json",
        "provider-gateway openapi --env-file my/gateway.env --queues my/queues.yaml",
    )
)
@_queues
@_env_file
def openapi(*, queues: Path | None, env_file: Path | None) -> None:
    """Print the OpenAPI document of the HTTPS listener, for somebody who may use everything.

    Neither broker nor certificates are needed. It is "twistd provider-gateway --openapi".
    """
    _become(["--openapi"], (("--queues", queues), ("--env-file", env_file)))


def _become(flags: Sequence[str], options: Iterable[tuple[str, object]]) -> NoReturn:
    """Run the process with a command line in place of this one.

    Args:
        options: with their values; without those that are None.
    """
    given = [part for name, value in options if value is not None for part in (name, str(value))]
    os.execv(sys.executable, [*_TWISTD, *flags, *given])  # noqa: S606 - no shell is meant


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        # The terminal may have characters for few languages.
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.argv[1:2] == [parking.name]:
        os.nice(_NICE)
    status = status_of(sys.argv[1:])
    try:
        if sys.stdout is not None:  # closed by a shell's >&-
            sys.stdout.flush()
    except OSError as error:
        status = _unwritten(error) if status == Status.DONE else status
        # The interpreter flushes once more at its end, and would complain.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def status_of(arguments: list[str]) -> int:
    """Run a command line; what goes wrong is one line on standard error."""
    try:
        return int(commands.main(arguments, prog_name="provider-gateway", standalone_mode=False, obj=WALL_CLOCK) or 0)
    except click.Abort:
        click.echo("\nprovider-gateway: interrupted; nothing was done", err=True)
        return Status.INTERRUPTED
    except click.ClickException as error:
        return _say_usage(error)
    except (Ended, SettingsError) as error:
        if str(error):
            click.echo(f"provider-gateway: {visible(str(error))}", err=True)
        return error.status if isinstance(error, Ended) else Status.FAILED
    except OSError as error:
        return _unwritten(error)
    except Exception:  # noqa: BLE001 - a mistake of ours: the traceback may quote messages
        click.echo(visible(traceback.format_exc(), keeps_lines=True), err=True)
        return Status.FAILED


def _say_usage(error: click.ClickException) -> int:
    """Say what is wrong with a command line, of which the text may quote anything; returns the exit status."""
    context = getattr(error, "ctx", None)
    if context is not None and not isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
        click.echo(f"Error: {visible(error.format_message(), keeps_lines=True)}", err=True)
    else:
        click.echo(visible(error.format_message(), keeps_lines=True), err=True)
    return error.exit_code


def _unwritten(error: OSError) -> int:
    """The status if the output could not be written. A reader that has seen enough, such as ``head``, is no failure."""
    if isinstance(error, BrokenPipeError):
        return Status.NO_READER
    click.echo(f"provider-gateway: {visible(str(error))}", err=True)
    return Status.FAILED

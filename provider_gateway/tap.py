"""What ``twistd provider-gateway`` runs: options, settings, the service. The only module with the global reactor."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet import reactor as global_reactor, task
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from provider_gateway import __version__
from provider_gateway.check import check_connections, effective_settings
from provider_gateway.demo import Demo
from provider_gateway.errors import SettingsError
from provider_gateway.log import log_observer
from provider_gateway.metrics import Metrics
from provider_gateway.queues import BUILT_IN, load_queues
from provider_gateway.service import GatewayService
from provider_gateway.settings import ROLES, Role, find_queues, load_settings

if TYPE_CHECKING:
    from twisted.application.service import IService
    from twisted.logger import ILogObserver

    from provider_gateway.settings import Settings

_log = Logger(namespace="provider_gateway")
#: mypy knows the module, not which reactor it is.
reactor: Any = global_reactor


class Options(usage.Options):
    """Command line of ``twistd provider-gateway``; everything else is in the environment."""

    synopsis = "[options]"
    longdesc = "HTTPS and AMQP in, machine-learning model out. Settings: environment and .env, see docs/settings.md."
    optFlags = [  # noqa: RUF012 - twisted.python.usage reads the list
        ["check", None, "Validate the settings, print the effective ones with secrets masked, and exit"],
        ["demo", None, "Try it out: embedded broker, sample model and certificates, in this process, on this machine"],
        ["connect", None, "With --check: also try broker, topology and model, and say what differs"],
    ]
    optParameters = [  # noqa: RUF012 - likewise
        ["role", None, ",".join(ROLES), "Roles of this process, separated by commas"],
        [
            "queues",
            None,
            None,
            "Queue file (default: QUEUES_CONF, conf/queue_config.yaml, configs/queue_config.yaml)",
        ],
        ["demo-folder", None, ".demo", "With --demo: where its certificates and its log go"],
        ["env-file", None, None, "File with environment variables (default: .env, if there is one)"],
    ]

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        sys.stdout.write(f"provider-gateway {__version__}\n")
        raise SystemExit(0)

    def roles(self) -> list[Role]:
        """The roles asked for.

        Raises:
            SettingsError: there is none, or one is unknown.
        """
        names = [name.strip() for name in self["role"].split(",") if name.strip()]
        roles = [role for role in ROLES if role in names]
        if not roles or len(roles) != len(set(names)):
            msg = f"--role: expected {' or '.join(ROLES)} or both, separated by a comma; found {self['role']!r}"
            raise SettingsError(msg)
        return roles


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def makeService(options: Options) -> IService:
    """The service for a command line (twisted.application.service.IServiceMaker).

    Wrong settings end the process here: one line on standard error, exit status 1, no traceback.
    """
    try:
        return _make_service(options)
    except SettingsError as error:
        raise SystemExit(f"provider-gateway: {error}") from None


def _make_service(options: Options) -> IService:
    roles = options.roles()
    if options["demo"]:
        return _make_demo(options)
    settings = load_settings(_path(options["env-file"]))
    entries, source = find_queues(_path(options["queues"]), settings)
    service = GatewayService(
        reactor,
        settings,
        entries,
        roles,
        metrics=Metrics(),
        observer=_observer(options.parent or {}, settings),
        fatal=_fatal,
    )
    if options["check"]:
        sys.stdout.write(effective_settings(settings, entries, source, roles))
        if not options["connect"]:
            raise SystemExit(0)
        task.react(check_connections, (settings, entries, roles))
    reactor.callWhenRunning(_exit_with_0_after_sigterm)
    reactor.callWhenRunning(_reload_on_sighup, service)
    reactor.callWhenRunning(_collect_less_garbage)
    reactor.callWhenRunning(_say_where_queues_come_from, source)
    return service


def _make_demo(options: Options) -> Demo:
    ignored = [name for name in ("check", "connect", "env-file") if options[name]]
    if options["role"] != ",".join(ROLES):
        ignored.append("role")
    if ignored:
        msg = f"--{ignored[0]}: means nothing with --demo"
        raise SettingsError(msg)
    queues = _path(options["queues"])
    entries = load_queues(queues) if queues is not None else BUILT_IN

    def make_gateway(settings: Settings) -> GatewayService:
        return GatewayService(reactor, settings, entries, ROLES, metrics=Metrics(), observer=None, fatal=_fatal)

    reactor.callWhenRunning(_exit_with_0_after_sigterm)
    return Demo(reactor, Path(options["demo-folder"]), entries[0], make_gateway, _fatal)


def _observer(twistd: Any, settings: Settings) -> ILogObserver | None:
    """JSON lines to where twistd would write; None if its own options ask for another observer."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile")
    if path and path != "-":
        return log_observer(LogFile.fromFullPath(path), settings.log_level)
    return log_observer(sys.stdout, settings.log_level) if twistd.get("nodaemon") else None


def _say_where_queues_come_from(source: str) -> None:
    if source == "built-in":
        _log.warn("There is no queue file: one queue 'fib' on the exchange ML.MQ is served, as the seed does")
    else:
        _log.info("Queues come from {source}", source=source)


def _exit_with_0_after_sigterm() -> None:
    """SIGTERM drains and ends with status 0; twistd would end with the signal, which orchestrators take for a crash."""

    def stop(_number: int, _frame: object) -> None:
        reactor.callFromThread(_stop_once)

    signal.signal(signal.SIGTERM, stop)


def _reload_on_sighup(service: GatewayService) -> None:
    """SIGHUP has changed certificates read again, where changes of files are not noticed by themselves."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(service.reload))


def _collect_less_garbage() -> None:
    """Let the garbage collector look at what requests leave behind only, and less often: else it takes 10 % of the CPU.

    What was imported stays for ever; 10,000 objects in cycles are those of some 200 requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def _stop_once() -> None:
    # A second signal finds the stop under way; the drain has a time limit of its own.
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def _fatal(reason: str) -> None:
    """Stop the process with a line on standard error and exit status 1, which twistd has no way to give."""
    _log.critical("{reason}", reason=reason)
    # Twisted has redirected sys.stderr to the log by now.
    print(f"provider-gateway: {reason}", file=sys.__stderr__, flush=True)
    atexit.register(_exit_with_1)
    reactor.callWhenRunning(_stop_once)


def _exit_with_1() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

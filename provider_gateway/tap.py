"""What ``twistd provider-gateway`` runs: settings, service, signals. Only this module uses the global reactor."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as global_reactor, task
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.logfile import LogFile

from provider_gateway.app.access_warnings import access_warnings
from provider_gateway.app.check import check_connections, effective_settings
from provider_gateway.app.command_line import Options  # noqa: TC001 - twistd looks for it here
from provider_gateway.app.listeners import check_listeners
from provider_gateway.app.openapi_text import openapi_text
from provider_gateway.app.service import GatewayService
from provider_gateway.app.tracing import load_tracing
from provider_gateway.clocks import WALL_CLOCK, make_monotonic
from provider_gateway.config.appended_files import open_text, open_unbuffered
from provider_gateway.config.found_files import check_variables, find_queues, find_variables, load_named_settings
from provider_gateway.config.queue_file import BUILT_IN, load_queues
from provider_gateway.config.settings import ROLES
from provider_gateway.errors import SettingsError
from provider_gateway.net.plain_events import without_log_context
from provider_gateway.observability.json_log import log_observer
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from provider_gateway.store.opening import result_store
from provider_gateway.workers.inherited import InheritedListeners
from provider_gateway.workers.log_relay import copy_to, log_again
from provider_gateway.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.application.service import IService
    from twisted.logger import ILogObserver

    from provider_gateway.app.listeners import Listeners
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.demo.service import Demo

_log = Logger(namespace="provider_gateway")
#: Any: for mypy it is a module.
reactor: Any = global_reactor
#: Command that starts a worker. -P: nothing is imported from the working directory.
_TWISTD = (
    *(sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"),
    *("--nodaemon", "--pidfile=", "provider-gateway"),
)


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def makeService(options: Options) -> IService:
    """Make the service for a command line (twisted.application.service.IServiceMaker).

    Wrong settings and files end the process here, before twistd goes to the background: with one line on standard
    error, exit status 1 and no traceback.
    """
    try:
        return _make_service(options)
    except SettingsError as error:
        raise SystemExit(f"provider-gateway: {error}") from None


def _make_service(options: Options) -> IService:
    make_monotonic(reactor)
    without_log_context()
    roles = options.roles()
    if options["demo"]:
        return _make_demo(options)
    if options["openapi"]:
        sys.stdout.write(openapi_text(_path(options["env-file"]), _path(options["queues"])))
        raise SystemExit(0)
    settings = load_named_settings(_path(options["env-file"]))
    entries, source = find_queues(_path(options["queues"]), settings)
    variables = find_variables(_path(options["env-file"]))
    if options["worker"] is not None:
        return _make_worker(options["worker"], settings, entries, roles, variables)
    unknown = check_variables(variables, entries)
    if "gateway" in roles:
        unknown += access_warnings(settings.http_access, entries)
    log_file = _log_file(options.parent or {})
    observer = log_observer(log_file, settings.log_level) if log_file is not None else None
    # With workers, too: a wrong certificate is found before the first worker is started.
    service = _load_gateway(settings, entries, roles, variables, observer=observer, changes=not options["check"])
    if options["check"]:
        sys.stdout.write(effective_settings(settings, entries, source, roles, unknown))
        if not options["connect"]:
            raise SystemExit(0)
        task.react(check_connections, (settings, entries, roles, variables, WALL_CLOCK))
    runs = service if settings.workers == 1 else _make_supervisor(options, settings, roles, log_file, observer)
    _on_signals(runs.reload)
    reactor.callWhenRunning(_collect_less_garbage)
    reactor.callWhenRunning(_say_where_queues_come_from, source)
    reactor.callWhenRunning(_warn, unknown)
    return runs


def _load_gateway(
    settings: Settings,
    entries: Sequence[QueueEntry],
    roles: Sequence[Role],
    variables: Mapping[str, str],
    *,
    observer: ILogObserver | None,
    listeners: Listeners | None = None,
    changes: bool = True,
) -> GatewayService:
    """Read the files that the settings name, then make the service.

    Args:
        variables: of the environment, for the headers of models.
        changes: False if the result store is not to be made or changed.

    Raises:
        SettingsError: a certificate or the access file is missing or wrong, access log or audit log cannot be
            written, the result store cannot work, both listeners have the same port, or messages that wait for another
            attempt would not come back.
    """
    if "gateway" in roles:
        check_listeners(settings)
    metrics = Metrics()
    return GatewayService(
        reactor,
        settings,
        entries,
        roles,
        metrics=metrics,
        credentials=load_credentials(
            reactor, settings, roles, metrics, WALL_CLOCK, entries=entries, variables=variables
        ),
        access_log=open_text("ACCESS_LOG", settings.access_log) if "gateway" in roles else None,
        audit_log=open_unbuffered("AUDIT_LOG", settings.audit_log) if "gateway" in roles else None,
        observer=observer,
        fatal=_fatal,
        wall_clock=WALL_CLOCK,
        listeners=listeners,
        store=result_store(reactor, settings, WALL_CLOCK, metrics, changes=changes) if "gateway" in roles else None,
        tracing=load_tracing(reactor, settings, metrics, WALL_CLOCK),
    )


def _make_supervisor(
    options: Options, settings: Settings, roles: list[Role], log_file: Any, observer: ILogObserver | None
) -> Supervisor:
    return Supervisor(
        reactor,
        settings,
        roles,
        command=[*_TWISTD, *options.for_worker()],
        observer=observer,
        output=copy_to(log_file) if log_file is not None else log_again,
        errors=_say_error,
        fatal=_fatal,
    )


def _make_worker(
    number: int,
    settings: Settings,
    entries: Sequence[QueueEntry],
    roles: list[Role],
    variables: Mapping[str, str],
) -> IService:
    def reload() -> None:
        service.reload()

    listeners = InheritedListeners(reactor, number, reload=reload, on_lost=_stop_once)
    observer = log_observer(sys.stdout, settings.log_level, worker=number)
    service = _load_gateway(settings, entries, roles, variables, observer=observer, listeners=listeners)
    service.when_running().addCallback(lambda _: listeners.say_running())
    _on_signals(service.reload)
    reactor.callWhenRunning(_collect_less_garbage)
    return service


def _make_demo(options: Options) -> Demo:
    # Imported late: an embedded broker and a sample model, which a service does not need in its memory.
    from provider_gateway.demo.service import Demo, open_folder  # noqa: PLC0415 - see above

    for name, is_given in (
        ("--check", options["check"]),
        ("--connect", options["connect"]),
        ("--openapi", options["openapi"]),
        ("--env-file", options["env-file"]),
        ("--role", options["role"] != ",".join(ROLES)),
    ):
        if is_given:
            msg = f"{name}: means nothing with --demo"
            raise SettingsError(msg)
    variables = find_variables()
    named = next((value for name, value in variables.items() if name.upper() == "QUEUES_CONF"), None)
    queues = _path(options["queues"] or named)
    entries = load_queues(queues) if queues is not None else None
    reactor.callWhenRunning(_warn, check_variables(variables, entries or BUILT_IN))
    files = open_folder(Path(options["demo-folder"]))
    reactor.callWhenRunning(_handle, signal.SIGTERM, _stop_once)
    return Demo(
        reactor,
        files=files,
        entries=entries,
        make_gateway=lambda settings, entries, listeners: _load_gateway(
            settings, entries, ROLES, find_variables(None), observer=None, listeners=listeners
        ),
        fatal=_fatal,
        wall_clock=WALL_CLOCK,
    )


def _log_file(twistd: Any) -> Any:
    """The file to which twistd would log; None if its options name another observer."""
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile")
    if path and path != "-":
        return LogFile.fromFullPath(path)
    return sys.stdout if twistd.get("nodaemon") else None


def _say_error(line: str) -> None:
    # By now Twisted has redirected sys.stderr to the log. In the background there is no standard error.
    if sys.__stderr__ is not None:
        print(line, file=sys.__stderr__, flush=True)


def _say_where_queues_come_from(source: str) -> None:
    if source == "built-in":
        _log.warn("There is no queue file: one queue 'fib' on the exchange ML.MQ is served, as the Go services do")
    else:
        _log.info("Queues come from {source}", source=source)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        _log.warn("{line}", line=line)


def _on_signals(reload: Callable[[], None]) -> None:
    """Make SIGTERM drain and end the process with status 0, and SIGHUP load changed files again.

    twistd would end with the signal, which orchestrators take for a crash. SIGHUP is for systems on which changes of
    files are not noticed.
    """
    reactor.callWhenRunning(_handle, signal.SIGTERM, _stop_once)
    reactor.callWhenRunning(_handle, signal.SIGHUP, reload)


def _handle(number: int, call: Callable[[], None]) -> None:
    signal.signal(number, lambda _number, _frame: reactor.callFromThread(call))


def _collect_less_garbage() -> None:
    """Run the garbage collector less often, and only on objects made from now on. Else it takes 10 % of the CPU.

    Imported modules are never garbage. 10,000 new objects come from about 200 requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def _stop_once() -> None:
    # At a second signal the stop is under way already; the drain has a time limit.
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def _fatal(reason: str) -> None:
    """Stop the process with a line on standard error and exit status 1; twistd alone would exit with 0."""
    _log.critical("{reason}", reason=reason)
    _say_error(f"provider-gateway: {reason}")
    atexit.register(_exit_with_1)
    reactor.callWhenRunning(_stop_once)


def _exit_with_1() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

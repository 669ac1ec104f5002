"""The service of one process: order of the start, readiness, and drain.

Start: admin listener (live, not ready) → both AMQP connections with topology and consumers, and the result store →
HTTPS listener → ready.
Stop: not ready → accept nothing new → finish what is in flight → close. Messages that are not finished by then stay
unacknowledged: the broker delivers them again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FirstError,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.declare import declare
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.app.broker_connection import connection_to_broker
from provider_gateway.app.listeners import TCPListeners
from provider_gateway.app.process_service import ProcessService, State
from provider_gateway.app.result_parts import ResultParts
from provider_gateway.errors import TopologyError
from provider_gateway.gateway.role import GatewayRole
from provider_gateway.http_server.access_log import AccessRecord
from provider_gateway.net.tls_transport import ServerFactory
from provider_gateway.observability.audit_log import AuditLog
from provider_gateway.provider.role import ProviderRole
from provider_gateway.topology.checks import check_entries, warnings
from provider_gateway.topology.routing import served_paths

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from io import FileIO
    from typing import TextIO

    from twisted.logger import ILogObserver
    from twisted.python.failure import Failure

    from provider_gateway.amqp.session import Session
    from provider_gateway.app.listeners import Listeners, Port
    from provider_gateway.app.tracing import Tracing
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.security.credentials import Credentials
    from provider_gateway.store.records import ResultStore


class GatewayService(ProcessService):
    """The service of one process, with one or both roles. It reads no files.

    Args:
        reactor: provides TCP, host names, and monotonic time.
        roles: ``gateway``, ``provider`` or both.
        credentials: loaded for these settings and roles.
        access_log: gets a line for each finished HTTP request; None for no access log.
        audit_log: gets a line for each parked message that somebody acts on; None for lines of the process's log.
        observer: log observer for twistd to use; None leaves twistd's own.
        fatal: called with a line that says why the process cannot go on; must stop the process.
        wall_clock: has the date.
        listeners: opens the listeners; None for TCP ports of its own.
        store: keeps results, if there is the gateway role; None without. It is closed at the end.
        tracing: None for no traces.

    Raises:
        SettingsError: with this queue file, messages that wait for another attempt would not come back, an object is
            declared in two ways, or the requests to a path do not come to its queue.
    """

    name = "provider-gateway"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        entries: Sequence[QueueEntry],
        roles: Sequence[Role],
        *,
        metrics: Metrics,
        credentials: Credentials,
        access_log: TextIO | None,
        audit_log: FileIO | None = None,
        observer: ILogObserver | None,
        fatal: Callable[[str], object],
        wall_clock: WallClock,
        listeners: Listeners | None = None,
        store: ResultStore | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        super().__init__(observer)
        self._reactor = reactor
        self._settings = settings
        self._fatal = fatal
        self._state = State.STARTING
        check_entries(entries)
        self._warnings = [*warnings(entries, settings.model_timeout), *settings.risks]
        self._listeners = listeners if listeners is not None else TCPListeners(reactor, settings)
        self._ports: dict[str, Port] = {}
        self._running: Deferred[None] = Deferred()
        self._publisher = Publisher(
            partial(declare, entries=entries),
            max_unsent=settings.max_buffered_bytes,
            max_stalled=2 * settings.max_body_bytes,
            clock=reactor,
            metrics=metrics,
        )
        self._gateway: GatewayRole | None = None
        self._provider: ProviderRole | None = None
        self._kept: ResultParts | None = None
        tracer = tracing.tracer if tracing is not None else None
        if store is not None:
            self._kept = ResultParts(
                *(reactor, settings, entries, store),
                access_rules=credentials.access_rules,
                publisher=self._publisher,
                metrics=metrics,
                wall_clock=wall_clock,
                tracer=tracer,
            )
        self._credentials = credentials
        self._tracing = tracing
        if "gateway" in roles:
            self._gateway = GatewayRole(
                reactor,
                settings,
                entries,
                publisher=self._publisher,
                metrics=metrics,
                on_finished=AccessRecord(metrics, reactor, access_log, wall_clock, served_paths(entries)),
                credentials=credentials,
                wall_clock=wall_clock,
                audit=AuditLog(audit_log, wall_clock).write,
                results=self._kept.results if self._kept is not None else None,
                tracer=tracer,
            )
        if credentials.model is not None:
            self._provider = ProviderRole(
                reactor,
                settings,
                entries,
                publisher=self._publisher,
                metrics=metrics,
                tls=credentials.model,
                is_awaited=self._gateway.is_awaited if self._gateway is not None else lambda _: None,
                wall_clock=wall_clock,
                model_credentials=credentials.models,
                tracer=tracer,
            )
        open_publishing = self._publisher.open if self._kept is None else self._kept.open_publishing
        self._connections = [
            connection_to_broker(
                reactor, name, settings, credentials, self._refusals_are_fatal_at_start(prepare), metrics
            )
            for name, prepare in (("publish", open_publishing), ("consume", self._open_consuming))
        ]
        metrics.ready.set_function(lambda: 0 if self.waiting_for() else 1)
        self._collect = metrics.registry.collect

    def waiting_for(self) -> list[str]:
        """What keeps this instance from being ready; empty when it is ready."""
        missing = [f"AMQP connection {c.name}" for c in self._connections if not c.is_open]
        missing += [f"AMQP connection {c.name} is blocked by the broker" for c in self._connections if c.is_blocked]
        if not missing and not self._publisher.is_ready:
            missing.append("publishing channel")
        for role in (self._gateway, self._provider):
            if role is not None:
                missing += role.waiting_for()
        if self._state is not State.RUNNING:
            missing.append(f"the process is {self._state.value}")
        return missing

    def degraded(self) -> list[str]:
        """What this instance cannot do for now, as no other one could: a model is busy, or the result store away."""
        return [each for role in (self._gateway, self._provider) if role is not None for each in role.degraded()]

    async def _start(self) -> None:
        for warning in self._warnings:
            self._log.warn("{warning}", warning=warning)
        self._ports["admin"] = self._listeners.open_admin(self._collect, self.waiting_for, self.degraded)
        # The store is waited for, else the first requests that need it could find it away.
        steps: list[Deferred[Any]] = [self._kept.open()] if self._kept is not None else []
        steps += [connection.start() for connection in self._connections]
        await gatherResults(steps, consumeErrors=True)
        if self._gateway is not None:
            self._gateway.start()
            site = self._gateway.site
            factory: Any = site
            if self._credentials.server is not None:
                factory = ServerFactory(self._credentials.server, site, self._reactor)
            else:
                self._log.warn("HTTP_TLS is off: anybody who reaches the port may call; keep it behind a sidecar")
            self._ports[self._settings.scheme] = self._listeners.open_http(factory, lambda: len(site.channels))
        self._credentials.reloader.start()
        self._state = State.RUNNING
        self._log.info("ready")
        self._running.callback(None)

    def reload(self) -> None:
        """Load certificates, revocation list and access file again if they have changed."""
        self._credentials.reloader.reload()

    def when_running(self) -> Deferred[None]:
        """A Deferred that fires when the start is complete. It is always the same one."""
        return self._running

    def port(self, listener: str) -> int:
        """The port of the "admin", "https" or "http" listener."""
        port: Any = self._ports[listener]
        return int(port.getHost().port)

    def _start_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, FirstError):
            failure = failure.value.subFailure
        if failure.check(CancelledError):
            return  # stopped before the start was complete
        if failure.check(CannotListenError):
            self._fatal(failure.getErrorMessage())
            return
        self._log.failure("The start failed", failure)
        self._fatal("the start failed for an unforeseen reason, see the log")

    async def _open_consuming(self, session: Session) -> None:
        # The reply queue comes last: a start that fails over a queue of the provider leaves none behind.
        roles = [role for role in (self._provider, self._gateway) if role is not None]
        session.channels.require(channels_needed(sum(role.consumers for role in roles)))
        for role in roles:
            await role.open(session)

    def _refusals_are_fatal_at_start(
        self, prepare: Callable[[Session], Awaitable[None]]
    ) -> Callable[[Session], Awaitable[None]]:
        """Make a preparation stop the process if, at the start, an object cannot be declared however often it is tried.

        After the start such a refusal is a failed attempt to connect, which is repeated.
        """

        async def prepare_or_stop(session: Session) -> None:
            try:
                await prepare(session)
            except TopologyError as error:
                if error.is_final and self._state is State.STARTING:
                    self._state = State.STOPPING  # the other connection finds the same refusal, which is reported once
                    self._fatal(str(error))
                raise

        return prepare_or_stop

    async def _stop(self) -> None:
        self._state = State.STOPPING
        whole = self._settings.drain_timeout
        # Kept back for sending the responses of requests that are given up.
        for_responses = min(1.0, 0.1 * whole)
        deadline = self._reactor.seconds() + whole - for_responses
        self._credentials.reloader.stop()
        self._log.info("draining for up to {seconds:g} s", seconds=whole)
        # The admin listener stays open to the end, so that "not ready" can be seen. There is none if it could not be
        # opened, which ends the process.
        admin = self._ports.get("admin")
        for port in self._ports.values():
            if port is not admin:
                await maybeDeferred(port.stopListening)
        if self._gateway is not None:
            self._gateway.drain()
            # Our own provider may be the one that answers these requests, so it goes on. It needs time to finish, too.
            share = 0.5 * whole if self._provider is not None else whole - for_responses
            await self._until(self._gateway.idle(), share)
        if self._provider is not None:
            await self._until(Deferred.fromCoroutine(self._finish(self._provider)), deadline - self._reactor.seconds())
            self._provider.abandon()
        if self._gateway is not None:
            self._gateway.abandon()
            await self._until(self._gateway.idle(), for_responses)
            await self._until(Deferred.fromCoroutine(self._gateway.close()), for_responses)
        await gatherResults([connection.stop() for connection in self._connections])
        if self._gateway is not None:
            self._gateway.stop()
        if self._kept is not None:
            await self._until(self._kept.close(0.5 * for_responses), for_responses)
        if self._tracing is not None:
            await self._tracing.close(max(1.0, deadline - self._reactor.seconds()))
        if admin is not None:
            await maybeDeferred(admin.stopListening)
        self._log.info("stopped")

    @staticmethod
    async def _finish(provider: ProviderRole) -> None:
        await provider.cancel_consumers()
        await provider.idle()

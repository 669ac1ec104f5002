"""``--demo``: gateway, provider, broker and sample model in one process, with certificates, to try it out."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, urljoin

from twisted.internet import ssl
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from provider_gateway.app.process_service import ProcessService
from provider_gateway.config.limits import Limits
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.queue_file import BUILT_IN
from provider_gateway.config.settings import load_settings
from provider_gateway.demo.certificates import certificates
from provider_gateway.demo.examples import Examples, has_model, is_given, models_text
from provider_gateway.demo.failures import Failures
from provider_gateway.demo.plain_listener import DemoListeners
from provider_gateway.demo.sample_model import SampleModel
from provider_gateway.demo.trial_calls import trial_calls
from provider_gateway.devbroker.login import common_name
from provider_gateway.devbroker.server import Broker
from provider_gateway.errors import SettingsError
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.json_log import log_observer
from provider_gateway.workbench.pages import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

    from provider_gateway.app.service import GatewayService
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings

HOST = "127.0.0.1"
#: Login of programs without a client certificate. The broker listens on loopback only and keeps nothing.
USER = PASSWORD = "demo"  # noqa: S105 - see above
#: The entries without a queue file: what fails is tried once more at once, and then parked, where it can be seen.
OF_THE_DEMO = tuple(each.model_copy(update={"dle": True, "max_attempts": 2, "retry_delay": 2_000}) for each in BUILT_IN)


@dataclass(frozen=True)
class DemoFiles:
    """The files in the demo's folder.

    Attributes:
        certs: the folder of certificates.
        log: the log, open for appending.
        results: the file in which results are kept.
    """

    certs: Path
    log: TextIO
    results: Path


def open_folder(folder: Path) -> DemoFiles:
    """Make the certificates, unless there are usable ones, and open the log.

    Raises:
        SettingsError: the folder cannot be read or written.
    """
    try:
        certs = certificates(folder / "certs")
        log = (folder / "gateway.log").open("a", encoding="utf-8")
        return DemoFiles(certs, log, (folder / "results.db").resolve())
    except OSError as error:
        msg = f"--demo-folder {folder}: expected a folder that can be written, got: {error.strerror}"
        raise SettingsError(msg) from None


class Demo(ProcessService):
    """Broker, model and gateway: starts them in this order, and stops the gateway first.

    A model that the user names takes the place of the sample model. It gets no call that the user has not made.

    Args:
        entries: those of the queue file; None without one. The printed examples use the first one.
        make_gateway: makes the gateway for settings, entries and listeners; raises SettingsError.
        fatal: called with a line that says why the process cannot go on; must stop the process.
        wall_clock: has the date.
    """

    name = "provider-gateway-demo"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        files: DemoFiles,
        entries: Sequence[QueueEntry] | None,
        make_gateway: Callable[[Settings, Sequence[QueueEntry], DemoListeners], GatewayService],
        fatal: Callable[[str], object],
        wall_clock: WallClock,
    ) -> None:
        super().__init__(log_observer(files.log, "info"))
        self._reactor = reactor
        self._make_gateway = make_gateway
        self._fatal = fatal
        self._wall_clock = wall_clock
        self._ports: list[IListeningPort] = []
        self._gateway: GatewayService | None = None
        self._listeners: DemoListeners | None = None
        self._amqp_url = os.environ.get("RMQ_URL", "")
        self._broker: Broker | None = None
        if entries is None:
            entries = BUILT_IN if self._amqp_url else OF_THE_DEMO
        self._entries = entries
        self._certs = files.certs
        self._log_path = files.log.name
        self._results = files.results
        #: The sample model serves the entries that name none.
        self._is_sample = False

    async def _start(self) -> None:
        values: dict[str, Any] = {}
        if not os.environ.get("RESULT_STORE"):
            values["result_store"] = f"sqlite://{quote(str(self._results))}"
        if not self._amqp_url:
            values |= self._start_broker()
            # The broker is empty: what waits for an answer in an old store would never get one.
            for suffix in ("", "-wal", "-shm"):
                self._results.with_name(self._results.name + suffix).unlink(missing_ok=True)
        else:
            where = f"Connecting to the broker of RMQ_URL; the reason for any delay is in {self._log_path}"
            self._reactor.callWhenRunning(self._say, where)
        settings = self._with_model(self._settings(values))
        listeners = self._listeners = DemoListeners(self._reactor, settings, self._failures())
        self._gateway = self._make_gateway(settings, self._entries, listeners)
        self._gateway.startService()
        await self._gateway.when_running()
        await self._show(listeners.link)

    def _failures(self) -> dict[bytes, IResource]:
        """The resource that makes messages fail, if their failures can be made here: no broker of others gets any."""
        if self._broker is None or not self._is_sample or has_model(self._entries[0]):
            return {}
        return {FAILURES.encode(): Failures(self._broker, self._entries[0], self._wall_clock).app.resource()}

    async def _stop(self) -> None:
        if self._listeners is not None and self._listeners.plain is not None:
            await maybeDeferred(self._listeners.plain.stopListening)
        if self._gateway is not None:
            await self._gateway.stopService()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._say("stopped, nothing is left running")

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(SettingsError, CannotListenError):
            self._fatal(failure.getErrorMessage())
        elif self.running:
            self._log.failure("The demo failed", failure)
            self._fatal(f"the demo failed; see {self._log_path}")

    def _with_model(self, settings: Settings) -> Settings:
        """Settings with a model for every entry: the user's, or the sample model. Says which it is."""
        self._is_sample = not (is_given(settings) or all(map(has_model, self._entries)))
        self._reactor.callWhenRunning(self._say, models_text(self._entries, settings, is_sample=self._is_sample))
        if not self._is_sample:
            return settings
        return settings.model_copy(update={"model_url": MaskedURL(self._start_model())})

    def _start_model(self) -> str:
        site = GatewaySite(SampleModel(self._reactor, self._wall_clock).app.resource(), self._reactor, Limits())
        port = self._reactor.listenTCP(0, site, interface=HOST)
        return f"http://{HOST}:{self._number_of(port)}/predict"

    def _number_of(self, port: IListeningPort) -> int:
        """Remember a port, to be closed at the stop; returns its number."""
        self._ports.append(port)
        host: Any = port.getHost()
        return int(host.port)

    def _start_broker(self) -> dict[str, Any]:
        """Start the embedded broker; returns the settings to reach it."""
        certs = self._certs
        broker = self._broker = Broker({USER: PASSWORD, "provider-gateway": None}, self._reactor, common_name)
        pem = (certs / "broker_cert.pem").read_bytes() + (certs / "broker_key.pem").read_bytes()
        own = ssl.PrivateCertificate.loadPEM(pem)
        tls = own.options(ssl.Certificate.loadPEM((certs / "cacert.pem").read_bytes()))
        secure = broker.listen_tcp(self._reactor, tls=tls)
        plain = broker.listen_tcp(self._reactor)
        self._amqp_url = f"amqp://{USER}:{PASSWORD}@{HOST}:{self._number_of(plain)}/"
        return {
            "rmq_url": f"amqps://localhost:{self._number_of(secure)}/",
            "mq_cacert": certs / "cacert.pem",
            "mq_cert": certs / "client_cert_mq.pem",
            "mq_key": certs / "client_key_mq.pem",
        }

    def _settings(self, values: dict[str, Any]) -> Settings:
        certs = self._certs
        return load_settings(
            **values,
            http_addr=HOST,
            admin_addr=HOST,
            http_tls=True,
            http_crl=None,
            http_cert=certs / "server_cert.pem",
            http_key=certs / "server_key.pem",
            http_cacert=certs / "cacert.pem",
        )

    async def _show(self, link: str) -> None:
        """Print what a user can try. If the sample model serves it, make these calls, and print their responses."""
        assert self._gateway is not None
        entry = self._entries[0]
        url = f"https://localhost:{self._gateway.port('https')}/v1/predict"
        admin = f"http://localhost:{self._gateway.port('admin')}/health/ready"
        is_sample = self._is_sample and not has_model(entry)
        examples = Examples(entry, url, self._certs)
        if is_sample and examples.takes_json:
            await self._show_calls(examples, url)
        else:
            self._say(
                f"""
It runs. Try it from another terminal, in this folder, with a body for your model:

    {examples.call()}

An answer that can wait: submit (its Location is where to come back), and fetch it there:

    {examples.call("-i", "-H", "Prefer: respond-async")}
    {examples.fetch(urljoin(url, "/v1/requests/ID/result"))}"""
            )
        self._say(
            f"""
The workbench: what runs, what failed, and sending it again. The link is the key; keep it to yourself:

    {link}

A program that speaks AMQP itself:

{examples.program(self._amqp_url)}

Health and metrics:                curl {admin}   …/metrics"""
        )
        if is_sample:
            self._say('The model slow, failing, hanging:  add "delay": 2, "status": 500 or "hang": true to the body')
        self._say(f"Log:                               {self._log_path}\n\nCtrl-C ends everything.")

    async def _show_calls(self, examples: Examples, url: str) -> None:
        """Make the calls that a user can try, and print them with their responses."""
        answers = await trial_calls(self._reactor, self._certs, url, examples.headers)
        self._say(
            f"""
It runs. Try it from another terminal, in this folder:

    {examples.call()}

Its answer just now (how many digits 2 to the power of the sum of the first Fibonacci numbers has):

    {answers.text}

An answer that can wait: submit (its Location is where to come back), and fetch what such a request got just now:

    {examples.call("-i", "-H", "Prefer: respond-async")}
    {examples.fetch(answers.result)}"""
        )

    @staticmethod
    def _say(text: str) -> None:
        # Twisted has redirected sys.stdout to the log by now.
        print(text, file=sys.__stdout__, flush=True)

"""Models to which no connection can be made, and models whose ready URL says no; the numbers are rows of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor

from tests.faults.base import cpu
from tests.faults.models import AbsentModelTestCase
from tests.faults.resources import take_all
from tests.faults.serving import AT_ONCE, pause
from tests.support.certificates import SERVER, authority, local_names, pem

if TYPE_CHECKING:
    from tests.support.processes import Gateway

#: Messages that wait for each model.
MANY = 100
#: Seconds for which a holding process is watched, and its CPU time in each of them, at most.
WATCHED, LITTLE = 3, 0.05
#: Seconds for which a model is there, and then away.
FLAP = 5
#: Headers that count attempts and deliveries.
COUNTS = {"pg-attempt": 1, "pg-redeliveries": 0, "x-delivery-count": 0}
ON_ITS_WAY = {"x-delivery-count": 1}
#: A resolver that knows the name ``my_model`` as long as there is a certain file.
RESOLVER = """\
import os, socket
real = socket.getaddrinfo
def getaddrinfo(host, *arguments, **named):
    if host == "my_model":
        if not os.path.exists({file!r}):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        host = "127.0.0.1"
    return real(host, *arguments, **named)
socket.getaddrinfo = getaddrinfo
"""


class AbsentTests(AbsentModelTestCase):
    """Messages wait in the queues of models that are away."""

    async def holds(self, kind: str, count: int = MANY, processes: int = 1) -> None:
        """Wait until the messages of a kind are back in their queue. Each process may keep one to ask with."""
        queue, least = f"{self.queue}.{kind}", count - processes
        await self.look_until(f"{queue} keeps all", lambda: self.has_waiting(queue, least))

    async def has_kept(self, kind: str, count: int = MANY, processes: int = 1) -> None:
        """Check that the queue of a kind has all messages, and that nothing counts as an attempt or a redelivery.

        A message that was on its way when a consumer was cancelled is rejected, which a quorum queue counts. Only
        suspects came three times.
        """
        await self.holds(kind, count, processes)
        rejected = await self.on_channel(lambda channel: self._inspect(channel, f"{self.queue}.{kind}"))
        self.assertLess(rejected, processes * self.keys["prefetch"])

    def _inspect(self, channel: Any, queue: str) -> int:
        """Check all messages of a queue; returns how many were rejected once on their way."""
        rejected = 0
        for properties, body in take_all(channel, queue):
            headers = properties.headers
            counted = {name: headers[name] for name in COUNTS if headers.get(name, COUNTS[name]) != COUNTS[name]}
            if counted == ON_ITS_WAY:
                rejected += 1
            else:
                self.assertEqual(counted, {}, queue)
            channel.basic_publish("", queue, body, properties)
        return rejected

    async def says(self, gateway: Gateway, text: str) -> bool:
        """True if ``/health/ready`` has a text."""
        return text in (await self.ready(gateway))[1]

    async def is_degraded(self, gateway: Gateway) -> None:
        """Wait until a provider says that its model is away, and is ready all the same: its workers may still start."""

        async def is_so() -> bool:
            status, text = await self.ready(gateway)
            return status == 200 and "degraded" in text

        await self.look_until("ready and degraded", is_so)

    async def test_33_no_connection(self) -> None:
        """Connections refused; name gone; TLS not trusted: the queues keep all, uncounted; at return, all is answered.

        Meanwhile the processes take hardly any CPU time. Classic and quorum queues, with and without ``dle``.
        """
        authorities = {name: authority(name) for name in ("model CA", "another CA")}
        files = {}
        for name, issuer in authorities.items():
            holder = issuer.issue("model", purpose=SERVER, names=local_names())
            files[name] = str(holder.write(self.folder / f"{name}.pem").resolve())
        (self.folder / "ca.pem").write_bytes(pem(authorities["model CA"].certificate))
        there = self.folder / "there"
        (self.folder / "sitecustomize.py").write_text(RESOLVER.format(file=str(there.resolve())))
        refusing, nameless = await self.begin_model(up=False), await self.begin_model()
        untrusted = await self.begin_model(certificate=files["another CA"])
        kinds = {
            "refusing": (refusing, {"dle": False}, {}),
            "nameless": (
                nameless,
                {},
                {"MODEL_URL": f"http://my_model:{nameless.port}/", "PYTHONPATH": str(self.folder.resolve())},
            ),
            "untrusted": (
                untrusted,
                {"queueType": "quorum"},
                {
                    "MODEL_URL": f"https://localhost:{untrusted.port}/",
                    "MODEL_CACERT": str((self.folder / "ca.pem").resolve()),
                },
            ),
        }
        gateways = [
            await self.serve_kinds(model, {kind: keys}, **variables) for kind, (model, keys, variables) in kinds.items()
        ]
        self.initiator()
        for kind in kinds:
            await self.backlog(kind, MANY)
        for kind in kinds:
            await self.holds(kind)
        before = [cpu(gateway) for gateway in gateways]
        await pause(WATCHED)
        for kind, gateway, seconds in zip(kinds, gateways, before, strict=True):
            self.assertLess(cpu(gateway) - seconds, LITTLE * WATCHED, kind)
            await self.is_degraded(gateway)
            await self.has_kept(kind)
        await refusing.tell(up=True)
        there.touch()
        await untrusted.tell(up=False)
        await untrusted.tell(up=True, certificate=files["model CA"])
        await self.answered(len(kinds) * MANY)
        await self.none_failed()

    async def test_33_says_no(self) -> None:
        """A model's ready URL says no: no calls until it says yes; other entries' models are served meanwhile."""
        model = await self.begin_model(status=503)
        await model.tell(kind="loading", ready=False, slots=0)
        keys = {"readyUrl": "/ready?kind=loading", "queueType": "quorum"}
        gateway = await self.serve_kinds(model, {"loading": keys, "other": {}})
        self.initiator()
        await self.backlog("loading", MANY)
        await self.holds("loading")
        refused = (await model.figures("loading")).refusals
        started = reactor.seconds()
        await self.backlog("other", MANY)
        await self.answered(MANY)
        self.assertLess(reactor.seconds() - started, 5 * AT_ONCE)
        await pause(WATCHED)
        figures = await model.figures("loading")
        self.assertLessEqual(refused, 2 * self.keys["prefetch"])
        self.assertEqual(figures.refusals, refused)  # the ready URL is asked, not messages
        self.assertLess(figures.asked, 10)
        await self.is_degraded(gateway)
        await self.has_kept("loading")
        await model.tell(kind="loading", ready=True, slots=8)
        await self.answered(2 * MANY)
        await self.none_failed()

    async def test_33_callers(self) -> None:
        """Connections refused: AMQP initiators and HTTP callers wait, and are answered when the model listens."""
        model = await self.begin_model(up=False)
        gateway = await self.serve(MODEL_URL=model.url).ready()
        amqp, http = self.initiator(), await self.callers(gateway)
        calls = http.call(20)
        await amqp.publish(20)
        await self.look_until("degraded", lambda: self.says(gateway, "degraded"))
        await model.tell(up=True)
        await calls
        await self.answered(40)
        await self.none_failed()

    async def test_33_flapping(self) -> None:
        """The model is killed every few seconds under load, and comes back: what it worked on is tried again."""
        model = await self.begin_model()
        # Each time, the calls that were answered in part use up an attempt.
        await self.serve_kinds(model, {"flapping": {"maxAttempts": 5}})
        amqp = self.initiator(rate=60, kind="flapping")
        publishing = amqp.publish()
        await self.answered(20)
        for _ in range(2):
            await model.tell(up=False, at_once=True)
            await pause(FLAP)
            await model.tell(up=True)
            await pause(FLAP)
        amqp.stop()
        await publishing
        await self.drained()
        self.ledger.check(self)
        self.assertEqual(set(self.ledger.statuses), {200})
        self.assertLessEqual(self.ledger.repeated_calls(), 2 * 8)

    async def test_33_replicas(self) -> None:
        """Two processes, one of them with two workers, hold for a model that is away; then they share its calls."""
        model = await self.begin_model(up=False)
        kinds: dict[str, dict[str, Any]] = {"shared": {}}
        gateways = [await self.serve_kinds(model, kinds), await self.serve_kinds(model, kinds, WORKERS="2")]
        self.initiator()
        await self.backlog("shared", 3 * MANY)
        await self.holds("shared", 3 * MANY, 3)
        for gateway in gateways:
            await self.is_degraded(gateway)
        await self.has_kept("shared", 3 * MANY, 3)
        await model.tell(up=True)
        await self.answered(3 * MANY)
        await self.none_failed()

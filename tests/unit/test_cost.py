"""What a request costs, counted in function calls and not in seconds: the same figure on every run and every machine.

An HTTP request goes through the whole process in memory, warm: HTTP, AMQP, the call of the model, and back. Every call
of a Python function on the way is counted for the module of ours that it was made on behalf of. What the embedded
broker, the tests, and whoever reads the log do is not counted.

    python -m tests.unit.test_cost      prints the figures as they are now, to be put in place of FIGURES
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from provider_gateway.app.tracing import Tracing
from provider_gateway.observability.metrics import Metrics
from provider_gateway.tracing.exporter import Exporter
from provider_gateway.tracing.otlp import RequestEncoder, encode_span
from provider_gateway.tracing.sampling import Sampling
from provider_gateway.tracing.tracer import Tracer
from tests.support.memory_store import MemoryStore
from tests.support.model_peer import response
from tests.support.service import ServiceTestCase

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

#: Calls for one request by module, with Python 3.11 and the versions of constraints.txt. Later versions of Python make
#: fewer calls, comprehensions being no functions any more, and are held to the same figures.
FIGURES: dict[str, int] = {
    "frameworks": 41,
    "deadlines": 32,
    "amqp.publisher": 27,
    "http_server.request": 26,
    "amqp.message_channel": 24,
    "http_client.response_reader": 23,
    "amqp.turn_writes": 20,
    "amqp.session": 18,
    "deferreds": 15,
    "message.message": 15,
    "amqp.frames": 14,
    "gateway.rpc": 13,
    "model.model": 12,
    "http_server.access_log": 11,
    "provider.provider": 11,
    "provider.task": 11,
    "http_client.connection": 10,
    "message.http_headers": 10,
    "message.plain_properties": 10,
    "provider.call_counts": 10,
    "http_server.problems": 9,
    "amqp.consumer": 8,
    "http_client.body": 8,
    "http_server.app": 8,
    "gateway.expected_wait": 7,
    "http_server.channel": 7,
    "http_client.response": 6,
    "http_server.received_headers": 6,
    "http_server.site": 6,
    "gateway.api": 5,
    "http_server.parser": 5,
    "message.ids": 5,
    "message.properties": 5,
    "amqp.outbox": 4,
    "gateway.request_message": 4,
    "http_client.treq_post": 6,
    "http_server.request_transport": 4,
    "provider.intake": 4,
    "provider.reliable_publisher": 4,
    "provider.reply_route": 4,
    "provider.settlement": 4,
    "content_codings": 3,
    "gateway.admission": 3,
    "http_client.agent": 3,
    "http_server.time_limits": 3,
    "provider.expiry": 3,
    "provider.in_work": 3,
    "topology.reply_addresses": 3,
    "gateway.response": 2,
    "http_client.expected": 2,
    "net.pieces": 2,
    "provider.after_call": 2,
    "provider.model_gate": 2,
    "provider.retry_route": 2,
    "provider.room": 2,
    "topology.routing": 2,
    "config.queue_file": 1,
    "gateway.json_body": 1,
    "gateway.media_type": 1,
    "gateway.role": 1,
    "net.arrivals": 1,
    "provider.replies": 1,
    "provider.suspects": 1,
    "provider.unstarted": 1,
    "recent": 1,
}
#: Part of a figure by which it may be exceeded: a new feature may cost something, an accident costs more.
_TOLERANCE = 0.2
#: Calls by which a single module may exceed its figure anyway: many make few.
_MODULE_TOLERANCE = 50
#: Part by which a result store may make a plain request dearer.
_WITH_STORE = 0.02
_WARM_UP = 5
#: What Twisted and pika do before a function of ours is called, or after.
_FRAMEWORKS = "frameworks"
#: Calls that a request makes more when its trace is recorded: its five spans begin, end and are encoded.
_WITH_TRACES = 57
#: Not counted, with all that they call: the other side of each connection, and what is not there in production.
_OUTSIDE = ("provider_gateway.devbroker", "twisted.logger._filter", "twisted.logger._observer")
_OUTSIDE_FUNCTIONS = ("Clock._sortCalls",)
#: Not counted themselves.
_AROUND = ("tests.", "twisted.internet.testing", "__main__")


class CallCounter:
    """Counts calls of Python functions by who they are made on behalf of.

    Attributes:
        modules: calls by module of ours.
        functions: calls by module and function of ours.
    """

    def __init__(self) -> None:
        self.modules: Counter[str] = Counter()
        self.functions: Counter[tuple[str, str]] = Counter()
        #: For each call under way, on whose behalf it is; None outside.
        self._owners: list[tuple[str, str] | None] = []

    def count(self, run: Callable[[], None]) -> None:
        """Run something and count."""
        previous = sys.getprofile()
        gc.collect()
        gc.disable()  # what it finalizes, and when, depends on everything that ran before
        sys.setprofile(self._profile)
        try:
            run()
        finally:
            sys.setprofile(previous)
            gc.enable()

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._enter(frame)
        elif event == "return" and self._owners:
            self._owners.pop()

    def _enter(self, frame: FrameType) -> None:
        owner = self._owners[-1] if self._owners else (_FRAMEWORKS, "")
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        if module.startswith(_OUTSIDE) or function in _OUTSIDE_FUNCTIONS:
            owner = None
        elif owner is not None and module.startswith("provider_gateway."):
            owner = (module.removeprefix("provider_gateway."), function)
        self._owners.append(owner)
        if owner is not None and not module.startswith(_AROUND):
            self.modules[owner[0]] += 1
            self.functions[owner] += 1


def difference(counter: CallCounter) -> str:
    """What to look at: the modules that make more calls than their figures say, each with its most costly functions."""
    more = {module: calls - FIGURES.get(module, 0) for module, calls in counter.modules.items()}
    lines = []
    for module in sorted((each for each in more if more[each] > 0), key=lambda each: -more[each]):
        costly = [f"{name} {calls}" for (of, name), calls in counter.functions.most_common() if of == module][:3]
        lines.append(f"  {module}: {counter.modules[module]}, was {FIGURES.get(module, 0)}; most: {', '.join(costly)}")
    return "\n".join(lines)


def is_too_much(calls: int, figure: int, allowed: int = 0) -> bool:
    """True if there are more calls than the figure and its tolerance."""
    return calls > figure + max(figure * _TOLERANCE, allowed)


class CostTests(ServiceTestCase):
    """One request on connections that are open and warm."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.post()
        self.answer_call()

    def answer_call(self) -> None:
        """Answer the call of the model, on a connection that stays open."""
        (call,) = self.calls
        call.respond(response(200, b"13", "Content-Type: application/json"))
        self.pump()
        call.clear()

    def request(self) -> None:
        """A request from its first byte to the last of its answer."""
        self.client.clear()
        self.client.post("/v1/predict", b'{"n": 7}', "routing-key: predict.now", "RqUID: r1")
        self.pump()
        self.answer_call()

    def measure(self) -> CallCounter:
        """Count the calls of one request."""
        for _ in range(_WARM_UP):
            self.request()
        counter = CallCounter()
        counter.count(self.request)
        return counter

    def test_calls(self) -> None:
        """A request makes no more calls than it did, but for 20 %, and neither does any of our modules."""
        counter = self.measure()
        answer = self.client.response()
        self.assertEqual((answer.status, answer.body), (200, b"13"))
        calls, figure = counter.modules.total(), sum(FIGURES.values())
        grown = [
            module
            for module, of_module in counter.modules.items()
            if is_too_much(of_module, FIGURES.get(module, 0), _MODULE_TOLERANCE)
        ]
        if is_too_much(calls, figure) or grown:
            self.fail(
                f"A request makes {calls} function calls; {figure} were written down ({_TOLERANCE:.0%} more in all, or "
                f"for one module, are let through).\nMore than before, in the module or what it calls in libraries:\n"
                f"{difference(counter)}\nLook there for work that is done for each request and need not be. If it is "
                "worth its cost, measure it (make bench),\nand put the output of  python -m tests.unit.test_cost  in "
                "place of FIGURES."
            )

    def test_count_is_stable(self) -> None:
        """Two requests make the same calls: nothing piles up from one to the next, and nothing here is by chance."""
        self.assertEqual(self.measure().functions, self.measure().functions)


class CostWithStoreTests(CostTests):
    """The same request with a result store."""

    def setUp(self) -> None:
        self.store = MemoryStore()
        super().setUp()

    def test_calls(self) -> None:
        """A result store makes a plain request 2 % dearer at most, and is not asked for it."""
        with_store = self.measure()
        assert self.store is not None
        self.assertEqual(self.store.calls, [])
        without = CostTests("test_calls")
        without.setUp()
        plain = without.measure()
        more, figure = with_store.modules.total() - plain.modules.total(), plain.modules.total()
        where = {name: calls for name, calls in (with_store.functions - plain.functions).items() if calls}
        self.assertLessEqual(more, _WITH_STORE * figure, f"{more} calls more than {figure}: {where}")


class CostOfTracesTests(CostTests):
    """The same request, with all traces recorded."""

    def setUp(self) -> None:
        clock: Any = self  # of the test case, which makes it later
        post: Any = self
        url: Any = "http://collector/v1/traces"
        exporter = Exporter(
            post,
            url,
            {},
            encode_span,
            RequestEncoder({}),
            timeout=10,
            delay=5,
            most=100_000,
            batch=50_000,
            compresses=False,
            clock=clock,
            metrics=Metrics(),
        )
        tracer = Tracer(Sampling("traceidratio", 1), exporter, clock, self.wall_clock)
        self.tracing = Tracing(tracer, exporter, clock)
        super().setUp()

    def send(self, *_: object, **__: object) -> Deferred[None]:
        """No request of the exporter is answered."""
        return Deferred()

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def callLater(self, *call: Any) -> Any:  # noqa: N802 - Twisted's name
        return self.clock.callLater(*call)

    def test_calls(self) -> None:
        """Traces make few calls more; those of 32 requests are counted, since spans are encoded 32 at a time."""
        traced, plain = self.measure_many(), CostTests("test_calls")
        plain.setUp()
        more = (traced - 32 * plain.measure().modules.total()) / 32
        self.assertLessEqual(more, _WITH_TRACES)

    def test_count_is_stable(self) -> None:
        """Each 32 requests make the same calls."""
        self.assertEqual(self.measure_many(), self.measure_many())

    def measure_many(self) -> int:
        """Count the calls of 32 requests, whose 160 spans are encoded five times."""
        for _ in range(32):  # each shape of span has been encoded once
            self.request()
        counter = CallCounter()
        for _ in range(32):
            counter.count(self.request)
        return counter.modules.total()


def main() -> None:
    """Print the figures."""
    case = CostTests("test_calls")
    case.setUp()
    figures = sorted(case.measure().modules.items(), key=lambda item: (-item[1], item[0]))
    lines = "".join(f'    "{module}": {calls},\n' for module, calls in figures)
    sys.stdout.write(f"FIGURES: dict[str, int] = {{\n{lines}}}\n")


if __name__ == "__main__":
    main()

"""The faults of the soak: each breaks one thing for some seconds and repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.faults.proxy import Direction

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.faults.proxy import FaultProxy
    from tests.faults.resources import FragileRabbitMQ
    from tests.support.model_server import ModelServer
    from tests.support.stepped_clock import SteppedClock

#: Seconds by which the wall clock is set.
HOUR = 3600


def pause(seconds: float) -> Deferred[None]:
    """Let a fault last."""
    return deferLater(reactor, seconds, lambda: None)


class Disturbances:
    """Faults of broker, network, model and processes, chosen at random.

    Args:
        broker: is restarted, suspended and made to block publishers.
        to_broker: the proxy between gateways and broker.
        to_model: the proxy between gateways and model.
        model: is made to answer with errors.
        end_gateway: ends one of the gateways with a signal, and starts another.
        wall: the wall clock of the gateways. It stays ahead of the certificates, which were made just now.

    Attributes:
        all: coroutine function of each fault, by name.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        broker: FragileRabbitMQ,
        to_broker: FaultProxy,
        to_model: FaultProxy,
        model: ModelServer,
        end_gateway: Callable[[str], Awaitable[None]],
        wall: SteppedClock,
    ) -> None:
        self._chance = chance
        self._broker = broker
        self._to_broker = to_broker
        self._to_model = to_model
        self._model = model
        self._end_gateway = end_gateway
        self._wall = wall
        self.all: dict[str, Callable[[], Awaitable[Any]]] = {
            "gateway killed": lambda: end_gateway("KILL"),
            "gateway stopped in order": lambda: end_gateway("TERM"),
            "broker killed and restarted": self.broker_killed,
            "broker stopped and started": self.broker_stopped,
            "broker suspended": self.broker_suspended,
            "memory alarm": lambda: self.alarm("memory"),
            "disk alarm": lambda: self.alarm("disk"),
            "connections closed by the broker": self.connections_closed,
            "connections to the broker reset": self.connections_reset,
            "connection cut within a frame": self.cut,
            "network to the broker silent": self.silent,
            "network to the broker slow": self.slow,
            "broker does not read": self.not_read,
            "wall clock set back": lambda: self.clock_set(-HOUR),
            "wall clock set forward": lambda: self.clock_set(HOUR),
            "model answers 500": self.model_fails,
            "model hangs": self.model_hangs,
            "model refuses connections": self.model_refuses,
            "connections to the model reset": self.model_resets,
        }

    def some_seconds(self, least: float = 1, most: float = 4) -> Deferred[None]:
        """Wait for a random time."""
        return pause(self._chance.uniform(least, most))

    async def broker_killed(self) -> None:
        await deferToThread(self._broker.kill)
        await deferToThread(self._broker.start)

    async def broker_stopped(self) -> None:
        await deferToThread(self._broker.stop_app)
        await deferToThread(self._broker.start_app)

    async def broker_suspended(self) -> None:
        self._broker.suspend()
        await self.some_seconds(1, 8)
        self._broker.resume()

    async def alarm(self, kind: str) -> None:
        await deferToThread(self._broker.raise_alarm, kind)
        await self.some_seconds()
        await deferToThread(self._broker.clear_alarm, kind)

    async def connections_closed(self) -> None:
        await deferToThread(self._broker.control, "close_all_connections", "soak")

    async def connections_reset(self) -> None:
        self._to_broker.reset()

    async def cut(self) -> None:
        direction = self._chance.choice(list(Direction))
        self._to_broker.cut_after(self._chance.randrange(1, 20_000), direction)
        await self.some_seconds()

    async def silent(self) -> None:
        self._to_broker.black_hole = True
        await self.some_seconds(1, 8)
        self._to_broker.black_hole = False

    async def slow(self) -> None:
        self._to_broker.delay, self._to_broker.jitter = 0.1, 0.1
        await self.some_seconds()
        self._to_broker.delay = self._to_broker.jitter = 0.0

    async def not_read(self) -> None:
        self._to_broker.stop_reading = True
        await self.some_seconds()
        self._to_broker.stop_reading = False

    async def model_fails(self) -> None:
        await self._model_does(lambda body: (500, body))

    async def model_hangs(self) -> None:
        await self._model_does(lambda _body: Deferred())

    async def model_refuses(self) -> None:
        self._to_model.refuse = True
        self._to_model.reset()
        await self.some_seconds()
        self._to_model.refuse = False

    async def model_resets(self) -> None:
        self._to_model.reset()

    async def clock_set(self, seconds: float) -> None:
        self._wall.step(seconds)

    async def _model_does(self, answer: Callable[[bytes], Any]) -> None:
        before, self._model.answer = self._model.answer, answer
        await self.some_seconds()
        self._model.answer = before

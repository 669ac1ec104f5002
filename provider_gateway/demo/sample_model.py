"""A sample model to try the gateway with: the seed's Fibonacci example.

``POST /predict`` takes ``{"data": [n, …]}``, or the list as text, as the seed writes it. The response is
``{"result": d}``: d is the number of decimal digits of 2^s, and s is the sum, over all n, of the first n Fibonacci
numbers. Members of the body make the model misbehave: ``"delay": seconds``, ``"status": code``, ``"hang": true``. With
a status, ``"error": text`` is what the model says about it, and it is well again ``"until": seconds since 1970``.
Run it with ``python -m provider_gateway.demo.sample_model [--port 8080] [--address ::1]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from provider_gateway.clocks import WALL_CLOCK, make_monotonic
from provider_gateway.config.host import bracketed, parse_host
from provider_gateway.config.limits import Limits
from provider_gateway.deferreds import sleep
from provider_gateway.http_server.problems import with_length
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IRequest

    from provider_gateway.clocks import WallClock

#: Largest n and largest count of numbers in one request. The result then has about 2,000 digits.
MAX_NUMBER = 10_000
MAX_NUMBERS = 100


def fibonacci_sum(n: int) -> int:
    """The sum of the first n Fibonacci numbers 0, 1, 1, 2, …: it is F(n + 1) - 1."""
    a, b = 0, 1
    for _ in range(n + 1):
        a, b = b, a + b
    return a - 1


def digits_of_power_of_two(exponent: int) -> int:
    """How many decimal digits 2^exponent has: floor(exponent · log10 2) + 1, without computing the power.

    Args:
        exponent: at least 0.
    """
    with localcontext() as context:
        # The integer part needs as many digits as the exponent has. The spare digits keep it from being rounded up.
        context.prec = len(str(exponent)) + 25
        return int(Decimal(exponent) * Decimal(2).log10()) + 1


def predict(document: Any) -> int:
    """The result for a request.

    Args:
        document: decoded body of the request.

    Raises:
        ValueError: the document is not what the module's docstring says.
    """
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, str):
        data = json.loads(data)
    if not isinstance(data, list) or len(data) > MAX_NUMBERS:
        msg = f'expected {{"data": [numbers]}} with at most {MAX_NUMBERS} numbers'
        raise ValueError(msg)
    for n in data:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= MAX_NUMBER:
            msg = f"expected whole numbers from 0 to {MAX_NUMBER}, found {n!r:.40}"
            raise ValueError(msg)
    return digits_of_power_of_two(sum(map(fibonacci_sum, data)))


class SampleModel:
    """The model's HTTP resource.

    Args:
        clock: times delays.
        wall_clock: has the time until which it fails.
    """

    app = Klein()

    def __init__(self, clock: IReactorTime, wall_clock: WallClock) -> None:
        self._clock = clock
        self._wall_clock = wall_clock

    @app.route("/predict", methods=["POST"])
    async def answer(self, request: IRequest) -> bytes:
        """Answer one request, or misbehave as its body asks."""
        assert request.content is not None
        try:
            document = json.loads(request.content.read())
            result = predict(document)
        except (ValueError, RecursionError) as error:
            request.setResponseCode(422)
            return with_length(request, JSON, json.dumps({"error": str(error)}).encode())
        if document.get("hang"):
            await Deferred()
        if document.get("delay"):
            await sleep(self._clock, float(document["delay"]))
        if document.get("status") and self._wall_clock() < float(document.get("until", "inf")):
            request.setResponseCode(int(document["status"]))
            if document.get("error"):
                return with_length(request, JSON, json.dumps({"error": document["error"]}).encode())
        return with_length(request, JSON, json.dumps({"result": result}).encode())

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        """Respond with 200: the model runs."""
        return with_length(request, JSON, b'{"status": "OK"}')


def main() -> None:
    """Print the URL of the sample model, and serve it until a signal ends the process."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing this module must not install a reactor

    clock: Any = reactor
    parser = argparse.ArgumentParser(prog="python -m provider_gateway.demo.sample_model", description="A sample model.")
    parser.add_argument("--port", type=int, default=8080, help="0 for a free one")
    parser.add_argument("--address", default="127.0.0.1", help="0.0.0.0 in a container")
    given = parser.parse_args()
    make_monotonic(clock)
    site = GatewaySite(SampleModel(clock, WALL_CLOCK).app.resource(), clock, Limits())
    try:
        address = parse_host(given.address, zone=True)
    except ValueError as error:
        parser.error(f"--address: expected {error}")
    try:
        bound = clock.listenTCP(given.port, site, interface=address)
    except CannotListenError as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(f"http://{bracketed(address)}:{bound.getHost().port}/predict\n")
    sys.stdout.flush()
    clock.run()


if __name__ == "__main__":
    main()

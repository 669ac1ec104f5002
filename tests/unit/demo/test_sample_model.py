"""The sample model's arithmetic, and its errors."""

from __future__ import annotations

import json
import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.demo.sample_model import (
    MAX_NUMBER,
    MAX_NUMBERS,
    SampleModel,
    digits_of_power_of_two,
    fibonacci_sum,
    predict,
)
from provider_gateway.http_server.site import GatewaySite
from tests.support.http_client import Client


class ArithmeticTests(SynchronousTestCase):
    """The two functions that compute the result."""

    def test_fibonacci_sum(self) -> None:
        """For small n, the sum of the first n Fibonacci numbers is the one counted by hand."""
        numbers = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55]
        for n in range(len(numbers) + 1):
            self.assertEqual(sum(numbers[:n]), fibonacci_sum(n), f"n = {n}")

    def test_digits_of_small_powers(self) -> None:
        """Up to exponent 2000, the number of digits is that of the power written out."""
        for exponent in range(2001):
            self.assertEqual(len(str(2**exponent)), digits_of_power_of_two(exponent), f"2^{exponent}")

    def test_digits_of_larger_powers(self) -> None:
        """For larger exponents, the power lies between the powers of ten that its number of digits says."""
        chosen = random.Random(2)
        for exponent in [10_000, 100_000, *(chosen.randrange(2001, 300_000) for _ in range(5))]:
            digits = digits_of_power_of_two(exponent)
            self.assertTrue(10 ** (digits - 1) <= 2**exponent < 10**digits, f"2^{exponent} has not {digits} digits")

    def test_exponents_of_many_digits(self) -> None:
        """With exponents of thousands of digits the result stays exact: the digits of 10^k · log10 2 are known."""
        self.assertEqual(int("30102999566398119521373889472449") + 1, digits_of_power_of_two(10**32))
        huge = digits_of_power_of_two(10**2000)
        self.assertEqual("30102999566398119521373889472449", str(huge)[:32])
        self.assertEqual(2000, len(str(huge)))


class PredictTests(SynchronousTestCase):
    """The result for a document."""

    def test_list_and_text(self) -> None:
        """The numbers may come as a list or as its text, as the seed's own request has them."""
        # The first 29 Fibonacci numbers have the sum 832039, and 2^1664078 has 500938 digits.
        for data in ([29, 29], "[29,29]", " [29, 29] "):
            self.assertEqual(500_938, predict({"data": data}), repr(data))

    def test_limits_are_accepted(self) -> None:
        """The smallest and the largest documents have results; other members are ignored."""
        self.assertEqual(1, predict({"data": []}))
        self.assertEqual(1, predict({"data": [0], "other": "x"}))
        self.assertEqual(1, predict({"data": [1] * MAX_NUMBERS}))
        self.assertEqual(digits_of_power_of_two(fibonacci_sum(MAX_NUMBER)), predict({"data": [MAX_NUMBER]}))

    def test_refusals(self) -> None:
        """Anything but a list of whole numbers within the limits is an error that says what was expected."""
        for document in (
            None,
            [29, 29],
            "text",
            {},
            {"data": None},
            {"data": {"a": 1}},
            {"data": "29"},
            {"data": "no JSON"},
            {"data": [1] * (MAX_NUMBERS + 1)},
            {"data": [-1]},
            {"data": [MAX_NUMBER + 1]},
            {"data": [1.0]},
            {"data": [True]},
            {"data": ["1"]},
            {"data": [[1]]},
            {"data": [None]},
        ):
            error = self.assertRaises(ValueError, predict, document)
            self.assertTrue(str(error), repr(document))

    def test_refusal_does_not_repeat_everything(self) -> None:
        """An error quotes at most the beginning of the value."""
        error = self.assertRaises(ValueError, predict, {"data": ["x" * 1000]})
        self.assertLess(len(str(error)), 200)


class MisbehaviorTests(SynchronousTestCase):
    """A sample model that fails, as a body asks."""

    def ask(self, **more: object) -> tuple[int, bytes]:
        """The status and body that a request gets at the time 1000."""
        clock = Clock()
        site = GatewaySite(SampleModel(clock, lambda: 1000.0).app.resource(), clock, Limits(), wall_clock=clock.seconds)
        client = Client(site)
        client.post("/predict", json.dumps({"data": [1], **more}).encode())
        return client.response().status, client.response().body

    def test_error(self) -> None:
        """With a status, the model says what it is asked to say, or gives its result."""
        self.assertEqual((500, b'{"error": "CUDA"}'), self.ask(status=500, error="CUDA"))
        self.assertEqual((503, b'{"result": 1}'), self.ask(status=503))

    def test_until(self) -> None:
        """The model is well again from the time on that the body names."""
        for until, status in ((999, 200), (1000, 200), (1000.5, 500)):
            self.assertEqual(status, self.ask(status=500, error="CUDA", until=until)[0])

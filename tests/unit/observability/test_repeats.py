"""Repeated log lines: which are written."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.repeats import PAUSE, Repeats


class RepeatsTests(SynchronousTestCase):
    """Lines about two things."""

    def test_repeats(self) -> None:
        """The same line is left out until the pause is over, for each thing. Then it says how often."""
        clock = Clock()
        repeats = Repeats(clock)
        self.assertEqual([0, None, None], [repeats.left_out("a", "refused") for _ in range(3)])
        self.assertEqual(0, repeats.left_out("b", "refused"))
        clock.advance(PAUSE)
        self.assertEqual([2, None], [repeats.left_out("a", "refused") for _ in range(2)])
        self.assertEqual([0, 0, None], [repeats.left_out("a", text) for text in ("reset", "refused", "refused")])

    def test_forget(self) -> None:
        """What was forgotten is news, and nothing was left out."""
        repeats = Repeats(Clock())
        for _ in range(2):
            self.assertEqual([0, None], [repeats.left_out("a", "refused") for _ in range(2)])
            repeats.forget()

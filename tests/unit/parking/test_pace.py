"""The pace of a look: turns, pauses, and how it gives way."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.pace import Pace


class PaceTests(SynchronousTestCase):
    """Seconds of turns and pauses, by a clock that the test sets."""

    def setUp(self) -> None:
        self.clock = Clock()

    def _pause(self, pace: Pace, delay: float = 0.0) -> float:
        """Take a pause that ends so many seconds late; returns the seconds that were asked for."""
        pausing = Deferred.fromCoroutine(pace.pause())
        self.assertNoResult(pausing)
        (timer,) = self.clock.getDelayedCalls()
        asked = timer.getTime() - self.clock.seconds()
        self.clock.advance(asked + delay)
        self.successResultOf(pausing)
        return asked

    def test_share(self) -> None:
        """With a quarter of the time, a turn is a quarter as long, and the pause three times the work."""
        pace = Pace(self.clock, 0.25)
        self.clock.advance(0.0009)
        self.assertFalse(pace.is_over)
        self.clock.advance(0.0002)
        self.assertTrue(pace.is_over)
        self.assertAlmostEqual(self._pause(pace), 3 * 0.0011)
        self.assertFalse(pace.is_over)

    def test_all_of_the_time(self) -> None:
        """With all of the time, others have their turn, and it goes on at once."""
        pace = Pace(self.clock, 1.0)
        self.clock.advance(0.004)
        self.assertTrue(pace.is_over)
        self.assertEqual(self._pause(pace), 0)

    def test_long_turn(self) -> None:
        """A turn that waited for something else, such as the broker, is no work: the pause after it is bounded."""
        pace = Pace(self.clock, 0.5)
        self.clock.advance(60)
        self.assertAlmostEqual(self._pause(pace), 0.02)

    def test_gives_way(self) -> None:
        """After a pause that ended late, since others had work, the next one is longer; then it is as before."""
        pace = Pace(self.clock, 0.5)
        self.clock.advance(0.5)
        self._pause(pace, delay=0.006)
        self.clock.advance(0.002)
        self.assertAlmostEqual(self._pause(pace), 0.002 + 8 * 0.0055)
        self.clock.advance(0.002)
        self.assertAlmostEqual(self._pause(pace), 0.002)

    def test_own_delay(self) -> None:
        """A short delay is that of what the broker has sent meanwhile."""
        pace = Pace(self.clock, 0.5)
        self.clock.advance(0.5)
        self._pause(pace, delay=0.0004)
        self.clock.advance(0.002)
        self.assertAlmostEqual(self._pause(pace), 0.002)

    def test_goes_on_in_the_end(self) -> None:
        """However late a pause ends, the next one takes 50 ms more at most: a look ends on a busy machine, too."""
        pace = Pace(self.clock, 0.5)
        self.clock.advance(0.5)
        self._pause(pace, delay=10)
        self.clock.advance(0.002)
        self.assertAlmostEqual(self._pause(pace), 0.002 + 0.05)

    def test_short_look(self) -> None:
        """Half a second long it does not give way: a short look is over soon, for whoever waits for the queue."""
        pace = Pace(self.clock, 0.5)
        self.clock.advance(0.002)
        self._pause(pace, delay=0.4)
        self.clock.advance(0.002)
        self.assertAlmostEqual(self._pause(pace), 0.002)

"""Dates, durations, sizes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.quantities import age, date, messages, size


class QuantitiesTests(SynchronousTestCase):
    """How people read them."""

    def test_age(self) -> None:
        """One or two units; a date in the future, of a clock that is ahead, is now."""
        for seconds, expected in (
            (0, "now"),
            (-5, "now"),
            (59, "59s"),
            (60, "1min"),
            (185, "3min 5s"),
            (3600, "1h"),
            (7500, "2h 5min"),
            (36_300, "10h"),
            (90_000, "1d 1h"),
            (86_400 * 40, "40d"),
        ):
            self.assertEqual(expected, age(1e9, 1e9 + seconds), seconds)
        self.assertEqual("", age(None, 1e9))

    def test_date(self) -> None:
        """UTC, to the second; what no calendar has is told as a number."""
        self.assertEqual("2001-09-09T01:46:40Z", date(1e9))
        self.assertEqual("", date(None))
        self.assertEqual("1e+30", date(1e30))

    def test_size(self) -> None:
        """Powers of 1024."""
        for count, expected in (
            (0, "0 B"),
            (1023, "1023 B"),
            (2048, "2.0 KiB"),
            (1024**2 - 1, "1.0 MiB"),
            (10 * 1024**2, "10.0 MiB"),
            (3 * 1024**4, "3072.0 GiB"),
        ):
            self.assertEqual(expected, size(count), count)

    def test_messages(self) -> None:
        """One message is no plural."""
        self.assertEqual(("1 message", "4,012 messages"), (messages(1), messages(4012)))

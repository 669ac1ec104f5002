"""The header ``Prefer``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.gateway.preferences import preferences


class PreferencesTests(SynchronousTestCase):
    """What RFC 7240 makes of values."""

    def assert_read(self, expected: tuple[bool, int | None], *values: str) -> None:
        self.assertEqual(expected, tuple(preferences(each.encode("latin-1") for each in values)), values)

    def test_known(self) -> None:
        """Both preferences, in any case, in one header or several, with white space, quotes and parameters."""
        for value in (
            *("respond-async", "Respond-Async", " respond-async ", "respond-async;a=1", 'respond-async ; a="b,c" ; d'),
            *('respond-async=""', "return=minimal, respond-async", ",, respond-async,"),
        ):
            self.assert_read((True, None), value)
        for value in (
            *("wait=10", "WAIT=10", "wait = 10", 'wait="10"', 'wait="1\\0"', "wait=10; foo=bar", "wait=010"),
            *("foo; wait=5, wait=10", 'foo="a, wait=5", wait=10'),
        ):
            self.assert_read((False, 10), value)
        self.assert_read((True, 10), "respond-async, wait=10")
        self.assert_read((True, 10), "wait=10", "respond-async")
        self.assert_read((False, 0), "wait=0")
        self.assert_read((False, None))

    def test_first_counts(self) -> None:
        """Of several with the same name the first one counts, even if its value is of no use (RFC 7240, 2)."""
        self.assert_read((False, 1), "wait=1, wait=2", "wait=3")
        self.assert_read((False, None), "wait=soon, wait=2")
        self.assert_read((False, None), "respond-async=no, respond-async")

    def test_ignored(self) -> None:
        """Values that are no seconds are ignored, and so are malformed and unknown preferences."""
        for value in (
            *("wait", "wait=", 'wait=""', "wait=-1", "wait=+1", "wait=1.5", "wait=1e3", "wait=soon", "wait=0x10"),
            *(
                "wait=1 2",
                "wait==1",
                "wait 1",
                "=1",
                "wait=1\x00",
                "wait=\xb2",
                "wait=\xd9\xa1",
                'wait="1',
                "a=b",
                ";",
                "",
            ),
            *("respond-async=1", "respond-asynchronously", "respond async", '"respond-async"', 'x="respond-async'),
            *("resp\xf6nd-async", "wait:1", "/wait=1"),
        ):
            self.assert_read((False, None), value)

    def test_neighbours(self) -> None:
        """What is malformed takes neither the next preference nor the next header with it."""
        self.assert_read((True, 5), '(, respond-async, b="', "wait=5")

    def test_huge(self) -> None:
        """A huge number is a long time, whatever its length, and takes no time to read."""
        for digits in ("9" * 10, "9" * 15_000, "1" + 9 * "0"):
            self.assert_read((False, 10**9), f"wait={digits}")
        self.assert_read((False, 7), f"wait={'0' * 9_000}7")
        self.assert_read((False, None), 'a="\\' * 4_000)

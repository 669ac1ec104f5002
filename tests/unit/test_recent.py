"""The bounded set that forgets its oldest member."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.recent import Recent


class RecentTests(SynchronousTestCase):
    """What is remembered, and what is forgotten."""

    def test_remembered(self) -> None:
        """A member is known after it was added, and not before."""
        recent = Recent(3)
        self.assertNotIn("a", recent)
        recent.add("a")
        self.assertIn("a", recent)
        self.assertNotIn("b", recent)

    def test_oldest_is_forgotten(self) -> None:
        """Beyond the size the oldest members are forgotten, and no more than those."""
        recent = Recent(3)
        for number in range(10):
            recent.add(number)
            known = [n for n in range(10) if n in recent]
            self.assertEqual(known, list(range(max(0, number - 2), number + 1)))

    def test_added_again(self) -> None:
        """A member that is added twice counts once."""
        recent = Recent(2)
        for thing in ("a", "b", "b", "b"):
            recent.add(thing)
        self.assertIn("a", recent)
        self.assertIn("b", recent)

    def test_by_value(self) -> None:
        """Members are compared by value, such as tuples with None in them."""
        recent = Recent(2)
        recent.add(("m", None, 5))
        self.assertIn(("m", None, 5), recent)
        self.assertNotIn(("m", "", 5), recent)

    def test_seen_again(self) -> None:
        """A member that is added again becomes the newest."""
        recent = Recent(2)
        for each in ("a", "b", "a", "c"):
            recent.add(each)
        self.assertIn("a", recent)
        self.assertNotIn("b", recent)

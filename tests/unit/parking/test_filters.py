"""Which parked messages a filter means, and what its texts may say."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.errors import FilterError
from provider_gateway.parking.filters import Filter
from tests.unit.parking.samples import MORNING, parked


def given(**values: Any) -> Filter:
    """A filter from texts, in the morning."""
    return Filter.from_values(now=MORNING, **values)


class MatchTests(SynchronousTestCase):
    """Which messages match."""

    def check(
        self, filter_: Filter, *, matching: tuple[dict[str, Any], ...], others: tuple[dict[str, Any], ...]
    ) -> None:
        for wanted, messages in ((True, matching), (False, others)):
            for each in messages:
                body = each.get("body", b"{}")
                self.assertIs(wanted, filter_.matches(parked(**each), body), each)

    def test_nothing_given(self) -> None:
        """Without conditions every message matches."""
        self.assertTrue(Filter().matches(parked(), b""))
        self.assertTrue(Filter().is_everything)
        self.assertFalse(Filter(limit=1).is_everything)
        self.assertFalse(Filter(ids=frozenset()).is_everything)

    def test_no_ids(self) -> None:
        """An empty set of ids matches nothing: it is not the same as no condition."""
        self.assertFalse(Filter(ids=frozenset()).matches(parked(), b""))
        self.assertFalse(given(ids=[]).matches(parked(), b""))

    def test_ids(self) -> None:
        one, other = parked(b"1"), parked(b"2")
        self.assertTrue(given(ids=[one.id]).matches(one, b"1"))
        self.assertFalse(given(ids=[one.id]).matches(other, b"2"))

    def test_reasons(self) -> None:
        """One of the reasons, to the letter."""
        self.check(
            given(reasons=["timeout", "5xx"]),
            matching=({}, {"headers": {"pg-reason": "5xx"}}),
            others=({"headers": {"pg-reason": "Timeout"}}, {"headers": {"pg-reason": 5}}),
        )
        self.assertTrue(given(reasons=["unknown"]).matches(parked(headers={"pg-reason": None}), b""))

    def test_who(self) -> None:
        """The request id in any spelling of its header; the identity that the broker has checked before a claim."""
        self.check(
            given(rquid="a-1"),
            matching=({"headers": {"RqUID": "a-1"}}, {"headers": {"rquid": "a-1"}}),
            others=({}, {"headers": {"RqUID": "a-10"}}),
        )
        self.check(
            given(identity="alice"),
            matching=({"headers": {"pg-identity": "alice"}}, {"user_id": "alice", "headers": {"pg-identity": "bob"}}),
            others=({}, {"user_id": "bob", "headers": {"pg-identity": "alice"}}),
        )

    def test_times(self) -> None:
        """``since`` includes its time, ``older_than`` does not; a message without a time matches neither."""
        early, late = ({"headers": {"pg-parked-at": int(1000 * (MORNING + shift))}} for shift in (-7200, -7199))
        unknown: dict[str, Any] = {"headers": {"pg-parked-at": "soon"}}
        self.check(given(since="2h"), matching=(early, late), others=(unknown,))
        self.check(given(older_than="2h"), matching=(), others=(early, late, unknown))
        self.check(given(older_than="7199s"), matching=(early,), others=(late, unknown))
        self.check(given(since="7199s", older_than="0s"), matching=(late,), others=(early, {}))

    def test_grep(self) -> None:
        """The pattern is searched in the whole body, and in all values of headers, however deep."""
        self.check(
            given(grep="needle"),
            matching=(
                {"body": b"x" * 5000 + b"needle\xff"},
                {"body": b"\xff\xfeneedle"},
                {"headers": {"pg-model-error": "a needle"}},
                {"headers": {"deep": {"er": [1, {"x": "needle"}]}}},
                {"headers": {"raw": b"\xffneedle"}},
            ),
            others=({"body": b"Needle"}, {"headers": {"needle": "x"}}),
        )
        self.check(
            given(grep="(?i)^n.edle$"), matching=({"body": b"NEEDLE"}, {"body": "NéEDLE".encode()}), others=({},)
        )
        self.check(given(grep="404"), matching=({"headers": {"pg-model-status": 404}},), others=({},))
        self.check(given(grep="é"), matching=({"body": "é".encode()},), others=({"body": b"\xe9"},))

    def test_all_must_hold(self) -> None:
        self.check(
            given(reasons=["timeout"], grep="x"),
            matching=({"body": b"x"},),
            others=({}, {"body": b"x", "headers": {"pg-reason": "5xx"}}),
        )


class TextTests(SynchronousTestCase):
    """What is understood, and what is not."""

    def test_times(self) -> None:
        """A time ago, or a date; without an offset it is UTC."""
        for text, expected in (
            ("90s", MORNING - 90),
            ("30m", MORNING - 1800),
            ("7d", MORNING - 7 * 86400),
            ("2w", MORNING - 14 * 86400),
            ("2026-01-31", 1769817600.0),
            ("2026-01-31T08:00:00", 1769846400.0),
            ("2026-01-31T08:00:00Z", 1769846400.0),
            ("2026-01-31T09:00:00.5+01:00", 1769846400.5),
        ):
            self.assertEqual(expected, given(since=text).since, text)
            self.assertEqual(expected, given(older_than=text).before, text)

    def test_wrong(self) -> None:
        """An error is one line, which names the condition; an empty text is an error, and no missing condition."""
        for name, values in {
            "id": ({"ids": [""]}, {"ids": ["0" * 31]}, {"ids": ["G" * 32]}, {"ids": [1]}),
            "reason": ({"reasons": [""]}, {"reasons": [3]}),
            "rquid": ({"rquid": ""}, {"rquid": 1}, {"rquid": "x" * 5000}),
            "identity": ({"identity": ""},),
            "since": ({"since": ""}, {"since": "2"}, {"since": "h"}, {"since": 5}, {"since": "yesterday\nevening"}),
            "older_than": ({"older_than": "-2h"}, {"older_than": "2026-13-01"}, {"older_than": "2 h"}),
            "grep": ({"grep": ""}, {"grep": "("}, {"grep": "x" * 1001}, {"grep": r"(a)\1"}, {"grep": "\ud800"}),
            "limit": ({"limit": "0"}, {"limit": 0}, {"limit": "-1"}, {"limit": True}, {"limit": "9" * 30}),
        }.items():
            for each in values:
                text = str(self.assertRaises(FilterError, given, **each))
                self.assertTrue(text.startswith(f"{name}: "), (each, text))
                self.assertNotIn("\n", text)

    def test_hostile_pattern(self) -> None:
        """A pattern that takes others exponential time takes linear time; one that needs much memory is refused."""
        self.assertFalse(given(grep="(a+)+$").matches(parked(b"a" * 200_000 + b"b"), b"a" * 200_000 + b"b"))
        self.assertRaises(FilterError, given, grep="((a{100}){100}){100}")

    def test_document(self) -> None:
        """The conditions that are given; a time ago is a time by then."""
        self.assertEqual({}, Filter().document())
        self.assertEqual(
            {"ids": ["0" * 32], "reasons": ["5xx", "timeout"], "since": MORNING - 7200, "limit": 5},
            given(ids=["0" * 32], reasons=["timeout", "5xx"], since="2h", limit="5").document(),
        )

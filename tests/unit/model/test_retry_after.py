"""Retry-After: which values are understood, and what they are relative to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from provider_gateway.model.retry_after import retry_after

#: Seconds since 1970 of the dates below; the forms of RFC 9110, 5.6.7.
NOW = 784_111_777.0
FORMS = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
WEEK = 604_800


class RetryAfterTests(SynchronousTestCase):
    """``retry_after``."""

    def wait(self, *values: str, date: str | None = None, now: float = NOW) -> float | None:
        headers = Headers({b"retry-after": [value.encode("latin-1") for value in values]})
        if date is not None:
            headers.addRawHeader("date", date)
        return retry_after(headers, lambda: now)

    def test_seconds(self) -> None:
        """A whole number is the seconds, whatever the date is; a week at most."""
        for value, expected in (
            ("0", 0), ("1", 1), ("007", 7), (" 30 ", 30), ("604800", WEEK), ("604801", WEEK), ("9" * 5000, WEEK),
        ):  # fmt: skip
            self.assertEqual(expected, self.wait(value, date=FORMS[0], now=0.0), value)

    def test_dates(self) -> None:
        """A date in any of HTTP's forms is compared with the response's Date, whatever our clock says."""
        for form in FORMS:
            for date in ("Sun, 06 Nov 1994 08:49:30 GMT", "Sunday, 06-Nov-94 08:49:30 GMT", "Sun Nov  6 08:49:30 1994"):
                self.assertEqual(7, self.wait(form, date=date, now=0.0), (form, date))

    def test_wall_clock(self) -> None:
        """Without a Date that can be read, a date is compared with our clock."""
        for date in (None, "", "now", "Sun, 06 Nov"):
            self.assertEqual(2.5, self.wait(FORMS[0], date=date, now=NOW - 2.5), date)

    def test_never_negative(self) -> None:
        """A date in the past means now; one that is far away counts as a week."""
        self.assertEqual(0, self.wait(FORMS[0], date="Mon, 07 Nov 1994 08:49:37 GMT"))
        self.assertEqual(0, self.wait(FORMS[2], now=2 * NOW))
        self.assertEqual(WEEK, self.wait("Fri, 31 Dec 9999 23:59:59 GMT"))

    def test_malformed(self) -> None:
        """What is neither number nor date counts as no header."""
        for value in (
            "", " ", "-1", "+1", "1.5", "1e3", "0x10", "1_0", "5 s", "5s", "5;", "5, 10", "soon", "\xb2", "\xa05",
            "nan", "inf", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT",
        ):  # fmt: skip
            self.assertIsNone(self.wait(value), repr(value))
        self.assertIsNone(self.wait())

    def test_several(self) -> None:
        """Of several values, the longest wait counts; malformed ones do not."""
        self.assertEqual(9, self.wait("2", "9", "soon"))
        self.assertEqual(7, self.wait("2", FORMS[0], date="Sun, 06 Nov 1994 08:49:30 GMT"))

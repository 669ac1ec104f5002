"""Values as the page writes them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.jobs import JobDocument
from provider_gateway.workbench import texts


class VisibleTests(SynchronousTestCase):
    """Texts of others."""

    def test_usual(self) -> None:
        """Texts in any script stay as they are, combining characters and emoji included."""
        for text in ("", "a b", "Größe", "日本語", "e\u0301", "🙂", "a\u3000b"):
            self.assertEqual(text, texts.visible(text))

    def test_invisible(self) -> None:
        """Controls, characters that turn the direction of writing or show nothing, and lone surrogates are spelled."""
        for character, said in (
            ("\x00", "\\x00"),
            ("\x1b", "\\x1b"),
            ("\n", "\\x0a"),
            ("\x85", "\\x85"),
            ("\u202e", "\\u{202e}"),
            ("\u2066", "\\u{2066}"),
            ("\u200b", "\\u{200b}"),
            ("\u2028", "\\u{2028}"),
            ("\ufeff", "\\u{feff}"),
            ("\ud800", "\\u{d800}"),
            ("\U000e0041", "\\u{e0041}"),
        ):
            self.assertEqual(f"a{said}b", texts.visible(f"a{character}b"))

    def test_lines(self) -> None:
        """A body keeps its lines and tabs, and nothing else."""
        self.assertEqual("a\n\tb\\x0d\n\\u{202e}", texts.visible("a\n\tb\r\n\u202e", keeps_lines=True))

    def test_short(self) -> None:
        """Of a long text the beginning is shown, and that there is more."""
        self.assertEqual("ab…", texts.short("abc", 2))
        self.assertEqual("abc", texts.short("abc", 3))

    def test_preview(self) -> None:
        """A body that is text is shown in one line; one that is none, or begins in the midst of a character, is not."""
        self.assertEqual('{ "a": 1 }', texts.preview(b'{\n  "a":\t1\n}'))
        self.assertEqual("", texts.preview(b"\x89PNG"))
        self.assertEqual("", texts.preview(b"a\0b"))
        self.assertEqual("", texts.preview(b"\xff"))
        self.assertEqual("aö", texts.preview("aöö".encode()[:-1]))
        self.assertEqual("", texts.preview(b""))


class FiguresTests(SynchronousTestCase):
    """Numbers, times and sizes."""

    def test_numbers(self) -> None:
        """Counts have their thousands apart; what is not known is a dash, and not 0."""
        self.assertEqual(["0", "1", "50,000", "–"], [texts.number(each) for each in (0, 1, 50_000.0, None)])
        self.assertEqual(["1 message", "2 messages"], [texts.count(each, "message") for each in (1, 2)])
        self.assertEqual(["never", "once", "2 times"], [texts.times(each) for each in (0, 1, 2)])

    def test_rates(self) -> None:
        """A small rate is not shown as none at all."""
        for value, said in ((0, "0"), (0.04, "< 0.1"), (0.26, "0.3"), (9.96, "10.0"), (10.4, "10"), (1234, "1,234")):
            self.assertEqual(said, texts.rate(value))

    def test_durations(self) -> None:
        """Durations have the unit that fits."""
        for seconds, said in (
            (None, "–"),
            (0.0, "0 ms"),
            (0.0124, "12 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1 s"),
            (1.26, "1.3 s"),
            (59.97, "1 min"),
            (60.0, "1 min"),
            (7199.0, "1 h"),
            (7200.0, "2 h"),
            (172_800.0, "2 d"),
            (-1.0, "0 ms"),
        ):
            self.assertEqual(said, texts.duration(seconds))

    def test_ages(self) -> None:
        """Ages; a clock that is a little ahead is no future."""
        for then, said in (
            (None, "–"),
            (100.0, "just now"),
            (130.0, "just now"),
            (500.0, "in the future"),
            (95.5, "4 s ago"),
            (40.0, "1 min ago"),
        ):
            self.assertEqual(said, texts.age(then, 100.0))

    def test_times(self) -> None:
        """Times are in UTC, and say so. One that no calendar has is not known."""
        self.assertEqual("2026-11-27 03:26:40 UTC", texts.time(1_795_750_000.9))
        self.assertEqual("2026-11-27T03:26:40Z", texts.iso(1_795_750_000.9))
        for wrong in (None, float("nan"), float("inf"), 1e300, -1e15):
            self.assertEqual(("–", ""), (texts.time(wrong), texts.iso(wrong)))

    def test_sizes(self) -> None:
        """Sizes."""
        for value, said in (
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1,023 bytes"),
            (1536, "1.5 KiB"),
            (2**20, "1.0 MiB"),
            (2**31, "2.0 GiB"),
        ):
            self.assertEqual(said, texts.size(value))


class JobTests(SynchronousTestCase):
    """What is said of a job."""

    def job(self, **values: object) -> JobDocument:
        usual = {"id": "a", "queue": "fib", "action": "replay", "operator": "o", "host": "h", "process": "p"}
        return JobDocument(**{**usual, "created": 0.0, "updated": 0.0, **values})  # type: ignore[arg-type] # any fields

    def test_title(self) -> None:
        """The title names the number once it is known."""
        self.assertEqual("Replay", texts.title(self.job()))
        self.assertEqual("Drop of 1 message", texts.title(self.job(action="drop", total=1)))
        self.assertEqual("Replay of 2,000 messages, only counted", texts.title(self.job(total=2000, dry_run=True)))

    def test_progress(self) -> None:
        """What was left out counts as done with: the last number is the total."""
        self.assertEqual("Counting the messages", texts.progress(self.job(total=5)))
        running = self.job(state="running", total=10, done=3, skipped=1, missing=1, failed=1)
        self.assertEqual("At work: 6 of 10 messages", texts.progress(running))
        self.assertEqual("Failed", texts.progress(self.job(state="failed")))

"""Changed files are loaded again, once, and nothing else is; if they are wrong, the old ones stay in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet import inotify
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import SettingsError
from provider_gateway.security.folder_watch import FolderWatch
from provider_gateway.security.reloader import RELOAD_DELAY, Reloader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.logger import LogEvent


class Part:
    """Something that is loaded from files; the text "wrong" in one of them is an error."""

    def __init__(self, name: str, *files: Path) -> None:
        self.name = name
        self.files = list(files)
        self.loads: list[list[str]] = []

    def load(self) -> None:
        texts = [path.read_text(encoding="utf-8") if path.exists() else "gone" for path in self.files]
        if {"wrong", "gone"} & set(texts):
            msg = f"{self.name} is wrong"
            raise SettingsError(msg)
        self.loads.append(texts)


class FakeWatch:
    """Remembers the watched files; ``notice`` plays a notice of the kernel."""

    def __init__(self) -> None:
        self.files: list[Path] | None = None
        self.begin: Callable[[], object] = lambda: None

    def watch(self, files: Iterable[Path], on_change: Callable[[], object]) -> bool:
        self.begin()
        self.files, self.notice = list(files), on_change
        return True

    def stop(self) -> None:
        self.files = None


class ReloadTests(SynchronousTestCase):
    """A reloader of two parts, one of two files and one of a single file."""

    def setUp(self) -> None:
        self.clock, self.watch = Clock(), FakeWatch()
        self.cert, self.key, self.rules = self.files = [Path(self.mktemp()) for _ in range(3)]
        for path in self.files:
            self.write(path, "old")
        self.tls, self.access = Part("TLS", self.cert, self.key), Part("access", self.rules)
        self.outcomes: list[tuple[str, str]] = []
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.reloader = self.made(self.watch)

    def made(self, watch: FakeWatch | FolderWatch) -> Reloader:
        parts = (self.tls, self.access)
        return Reloader(parts, clock=self.clock, watch=watch, on_outcome=lambda *outcome: self.outcomes.append(outcome))

    def write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")

    def change(self, path: Path, text: str) -> None:
        """Replace a file, give notice, and let the delay pass."""
        self.write(path, text)
        self.watch.notice()
        self.clock.advance(RELOAD_DELAY)

    def lines(self, level: LogLevel) -> list[str]:
        found = [each for each in self.events if each["log_level"] == level]
        return [each["log_format"].format(**each) for each in found]

    def test_start(self) -> None:
        """At the start all files are watched, and unchanged ones are not loaded again."""
        self.reloader.start()
        self.assertEqual(self.files, self.watch.files)
        self.assertEqual([], self.tls.loads + self.access.loads + self.outcomes)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_change_before_the_start(self) -> None:
        """What has changed between the first reading and the start is loaded at the start."""
        self.write(self.rules, "new")
        self.reloader.start()
        self.assertEqual(([], [["new"]]), (self.tls.loads, self.access.loads))

    def test_only_what_changed(self) -> None:
        """A change loads only the part to which the file belongs, once, and its outcome has the part's name."""
        self.reloader.start()
        self.change(self.key, "new")
        self.assertEqual(([["old", "new"]], []), (self.tls.loads, self.access.loads))
        self.change(self.rules, "new")
        self.assertEqual((1, [["new"]]), (len(self.tls.loads), self.access.loads))
        self.assertEqual([("TLS", "loaded"), ("access", "loaded")], self.outcomes)
        self.assertEqual(["TLS: loaded again", "access: loaded again"], self.lines(LogLevel.info))

    def test_same_content(self) -> None:
        """A file written again with the same content is not loaded; other files of the folder are ignored."""
        self.reloader.start()
        self.change(self.rules, "old")
        self.change(Path(self.mktemp()), "other")
        self.assertEqual([], self.outcomes)

    def test_same_bytes_divided_otherwise(self) -> None:
        """Bytes that move from one file to the next are a change."""
        self.write(self.cert, "ab")
        self.write(self.key, "c")
        self.reloader.start()
        self.write(self.cert, "a")
        self.change(self.key, "bc")
        self.assertEqual([["ab", "c"], ["a", "bc"]], self.tls.loads)

    def test_several_changes(self) -> None:
        """Files that are replaced within the delay of the first one are loaded together."""
        self.reloader.start()
        for path in (self.cert, self.key, self.cert):
            self.write(path, "new")
            self.watch.notice()
            self.clock.advance(0.25 * RELOAD_DELAY)
        self.assertEqual([], self.tls.loads)
        self.clock.advance(0.25 * RELOAD_DELAY)
        self.assertEqual([["new", "new"]], self.tls.loads)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_refused(self) -> None:
        """A wrong file is reported once, with the reason; the other part is loaded, and so is the corrected file."""
        self.reloader.start()
        self.write(self.rules, "new")
        self.change(self.cert, "wrong")
        self.change(self.key, "old")
        self.assertEqual([("TLS", "refused"), ("access", "loaded")], self.outcomes)
        self.assertEqual(["TLS: the old one stays in force: TLS is wrong"], self.lines(LogLevel.error))
        self.change(self.cert, "right")
        self.assertEqual([["right", "old"]], self.tls.loads)
        self.assertEqual(("TLS", "loaded"), self.outcomes[-1])

    def test_missing_file(self) -> None:
        """A missing file is a refused change; once it is back, it is loaded."""
        self.reloader.start()
        self.rules.unlink()
        self.watch.notice()
        self.clock.advance(RELOAD_DELAY)
        self.change(self.rules, "old")
        self.assertEqual([("access", "refused"), ("access", "loaded")], self.outcomes)

    def test_at_once(self) -> None:
        """``reload`` loads changes at once, and they are not loaded again after the delay."""
        self.reloader.start()
        self.write(self.rules, "new")
        self.watch.notice()
        self.reloader.reload()
        self.assertEqual([["new"]], self.access.loads)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_folders_are_found_anew(self) -> None:
        """At each reload the files' folders are determined anew: a link may lead elsewhere now."""
        self.reloader.start()
        self.watch.files = None
        self.change(self.rules, "new")
        self.assertEqual(self.files, self.watch.files)

    def test_change_while_another_folder_is_watched_first(self) -> None:
        """A change just before the new folder is watched is not missed: watching comes before reading."""
        self.reloader.start()
        self.watch.begin = lambda: self.write(self.rules, "newer")
        self.change(self.rules, "new")
        self.assertEqual(["newer"], self.access.loads[-1])

    def name_when_loaded(self, named: Path) -> None:
        """Have the rules name one more file as soon as they are loaded."""
        load = self.access.load

        def load_and_name() -> None:
            self.access.files = [self.rules, named]
            load()

        self.patch(self.access, "load", load_and_name)

    def test_other_files(self) -> None:
        """A part that names other files than before is loaded once more when these are watched; that is one reload."""
        named = Path(self.mktemp())
        self.write(named, "secret")
        self.watch.begin = lambda: self.write(named, "changed meanwhile") if named in self.access.files else None
        self.name_when_loaded(named)
        self.reloader.start()
        self.change(self.rules, "new")
        self.assertEqual(["new", "changed meanwhile"], self.access.loads[-1])
        self.assertEqual([*self.files, named], self.watch.files)
        self.assertEqual([("access", "loaded")], self.outcomes)
        self.change(named, "changed meanwhile")
        self.assertEqual([("access", "loaded")], self.outcomes)

    def test_other_file_that_is_missing(self) -> None:
        """A part that names a missing file is refused, and loaded when that file is there."""
        named = Path(self.mktemp())
        self.name_when_loaded(named)
        self.reloader.start()
        self.change(self.rules, "new")
        self.change(named, "secret")
        self.assertEqual([("access", "refused"), ("access", "loaded")], self.outcomes)
        self.assertEqual(["new", "secret"], self.access.loads[-1])

    def test_stop(self) -> None:
        """After a stop nothing is watched, and a reload that was due is cancelled."""
        self.reloader.start()
        self.write(self.rules, "new")
        self.watch.notice()
        self.reloader.stop()
        self.assertIsNone(self.watch.files)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], self.access.loads)

    def test_system_without_notices(self) -> None:
        """Without notices of the kernel one warning says what to do, and ``reload`` loads changes."""

        def refuse(_self: object, _reactor: object) -> None:
            raise inotify.INotifyError(38, "Function not implemented")

        self.patch(inotify.INotify, "__init__", refuse)
        reloader = self.made(FolderWatch(self.clock))
        reloader.start()
        self.write(self.rules, "new")
        reloader.reload()
        self.assertEqual([["new"]], self.access.loads)
        (line,) = self.lines(LogLevel.warn)
        self.assertIn("send SIGHUP", line)

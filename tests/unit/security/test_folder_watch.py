"""The folders on which a file depends, and the kernel's notices of changes in them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import inotify, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from provider_gateway.security.folder_watch import FolderWatch, folders_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent


def volume(folder: Path) -> Path:
    """A file as Kubernetes mounts it: a link into ``..data``, which is a link to the folder with the content."""
    (folder / "..1").mkdir(parents=True)
    (folder / "..1" / "file").write_text("old", encoding="utf-8")
    (folder / "..data").symlink_to("..1")
    (folder / "file").symlink_to("..data/file")
    return folder / "file"


class FoldersOfTests(SynchronousTestCase):
    """The folders in which a change may change a file's content."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute().resolve()
        self.folder.mkdir()

    def assert_folders(self, path: Path, *names: str) -> None:
        self.assertEqual({self.folder / name for name in names}, folders_of(path))

    def test_plain_file(self) -> None:
        """The folder of a plain file is its own, whether or not the file exists, and for relative paths as well."""
        self.assert_folders(self.folder / "file", "")
        self.assertEqual({Path.cwd().resolve()}, folders_of(Path("file")))

    def test_link(self) -> None:
        """The folders of each link and of the file count, whether or not the file exists."""
        for name in ("a", "b"):
            (self.folder / name).mkdir()
        (self.folder / "link").symlink_to("a/link")
        (self.folder / "a" / "link").symlink_to(self.folder / "b" / "file")
        self.assert_folders(self.folder / "link", "", "a", "b")

    def test_kubernetes(self) -> None:
        """For a Kubernetes volume, its folder (where ``..data`` is replaced) and the folder with the content count."""
        self.assert_folders(volume(self.folder / "certs"), "certs", "certs/..1")

    def test_linked_folder(self) -> None:
        """If a folder above the file is a link, the folder of that link counts as well."""
        (self.folder / "real" / "deep").mkdir(parents=True)
        (self.folder / "links").mkdir()
        (self.folder / "links" / "link").symlink_to("../real")
        self.assert_folders(self.folder / "links" / "link" / "deep" / "file", "real/deep", "links")

    def test_missing_folder(self) -> None:
        """For a missing folder, the nearest existing one above it counts: the missing one will be made there."""
        (self.folder / "a").mkdir()
        (self.folder / "file").touch()
        self.assert_folders(self.folder / "a" / "b" / "c" / "file", "a")
        self.assert_folders(self.folder / "file" / "below", "")

    def test_link_to_itself(self) -> None:
        """A link to itself is not followed for ever."""
        (self.folder / "link").symlink_to("link")
        self.assert_folders(self.folder / "link", "")

    def test_folder_that_cannot_be_looked_at(self) -> None:
        """For a folder that the system refuses to look at (its name is too long, say), the one above it counts."""
        (self.folder / "link").symlink_to("x" * 300)
        self.assert_folders(self.folder / "link" / "file", "")

    def test_folder_without_permission(self) -> None:
        """For a folder that may not be read, the one above it counts: a change of permissions is noticed there."""
        (self.folder / "a").mkdir()
        self.patch(os, "access", lambda folder, _mode: folder != self.folder / "a")
        self.assert_folders(self.folder / "a" / "file", "")

    def test_link_that_goes(self) -> None:
        """A link that is removed while it is looked at is no error; its folder counts."""

        def gone(_self: Path) -> Path:
            raise FileNotFoundError

        (self.folder / "link").symlink_to("file")
        self.patch(Path, "readlink", gone)
        self.assert_folders(self.folder / "link", "")


class FolderWatchTests(TestCase):
    """Real notices of the kernel."""

    timeout = 10

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.watch = FolderWatch(reactor)
        self.addCleanup(deferLater, reactor, 0)  # type: ignore[arg-type] # descriptors are closed in the next turn
        self.addCleanup(self.watch.stop)
        self.count = 0
        self.first: Deferred[None] = Deferred()

    def notice(self) -> None:
        self.count += 1
        if not self.first.called:
            self.first.callback(None)

    async def noticed(self, path: Path, change: Callable[[], object]) -> int:
        """Watch a file and change something; how many notices came, at least one."""
        self.count, self.first = 0, Deferred()
        self.assertTrue(self.watch.watch([path], self.notice))
        change()
        await self.first
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        return self.count

    async def test_replaced(self) -> None:
        """A file that is made, written, replaced by a rename, or deleted is noticed; so is a change of its mode."""
        path, other = self.folder / "file", self.folder / "other"
        for change in (
            lambda: path.write_text("1", encoding="utf-8"),
            lambda: other.write_text("2", encoding="utf-8"),
            lambda: other.replace(path),
            lambda: path.chmod(0o600),
            path.unlink,
        ):
            self.assertGreaterEqual(await self.noticed(path, change), 1)

    async def test_unfinished(self) -> None:
        """Writing to a file is not noticed before it is closed: a log file is written all the time."""
        path = self.folder / "file"
        with path.open("w", encoding="utf-8") as file:

            def change() -> None:
                file.write("x")
                file.flush()
                os.utime(path)

            self.assertEqual(1, await self.noticed(path, change), "the new times alone")

    async def test_kubernetes(self) -> None:
        """The rename of ``..data`` is noticed, and afterwards changes in the new folder are."""
        path = volume(self.folder)
        new = self.folder / "..2"
        new.mkdir()
        (self.folder / "..data_tmp").symlink_to("..2")
        await self.noticed(path, lambda: (self.folder / "..data_tmp").replace(self.folder / "..data"))
        await self.noticed(path, (new / "file").touch)

    async def test_folder_that_goes_and_comes(self) -> None:
        """The removal of the folder is noticed, then its return, and then changes in it."""
        inner = self.folder / "inner"
        inner.mkdir()
        path = inner / "file"
        await self.noticed(path, inner.rmdir)
        await self.noticed(path, inner.mkdir)
        await self.noticed(path, path.touch)

    async def test_another_folder_of_that_name(self) -> None:
        """A folder that is replaced by one of the same name is watched anew."""
        inner = self.folder / "inner"
        for replace in (lambda: shutil.rmtree(inner), lambda: inner.rename(self.folder / "elsewhere")):
            inner.mkdir(exist_ok=True)

            def change(replace: Callable[[], object] = replace) -> None:
                replace()
                inner.mkdir()

            await self.noticed(inner / "file", change)
            await self.noticed(inner / "file", (inner / "file").touch)


class DescriptorsTests(SynchronousTestCase):
    """The descriptors that notices are read from."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.watch = FolderWatch(self.reactor)
        self.addCleanup(self.reactor.advance, 0)  # descriptors are closed in the next turn
        self.addCleanup(self.watch.stop)

    def test_no_inotify(self) -> None:
        """Without inotify, or beyond its limits, ``watch`` returns False, warns once, and leaves no descriptor open."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)

        def refuse(*_args: Any, **_options: Any) -> None:
            raise inotify.INotifyError(28, "No space left on device")

        for attribute in ("watch", "__init__"):
            self.patch(inotify.INotify, attribute, refuse)
            self.assertFalse(FolderWatch(self.reactor).watch([Path("file")], lambda: None))
            (event,) = events
            self.assertEqual(LogLevel.warn, event["log_level"])
            self.assertIn("send SIGHUP", event["log_format"])
            self.assertEqual([], self.reactor.getReaders())
            events.clear()

    def test_same_folders(self) -> None:
        """Folders that are watched already are not watched anew, so that no change is missed in between."""
        self.assertTrue(self.watch.watch([Path("a"), Path("b")], lambda: None))
        (first,) = self.reactor.getReaders()
        self.assertTrue(self.watch.watch([Path("b")], lambda: None))
        self.assertEqual([first], self.reactor.getReaders())
        self.assertTrue(self.watch.watch([Path("/file")], lambda: None))
        (second,) = self.reactor.getReaders()
        self.assertIsNot(first, second)

    def test_stop(self) -> None:
        """After a stop no descriptor is left; a second stop does nothing."""
        self.watch.watch([Path("file")], lambda: None)
        self.watch.stop()
        self.watch.stop()
        self.assertEqual([], self.reactor.getReaders())

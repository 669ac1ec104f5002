"""What ``--check`` says of a store on SQLite. It creates and changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.store_url import StoreURL, parse_store_url
from provider_gateway.errors import SettingsError
from provider_gateway.store import sqlite
from provider_gateway.store.checking import try_store
from provider_gateway.store.opening import engine_for
from provider_gateway.store.schema import VERSION
from provider_gateway.store.sqlite import SQLite


class TrialTests(SynchronousTestCase):
    """One file, in a folder of its own."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "r.db"

    def url(self, path: Path | None = None) -> StoreURL:
        return parse_store_url(f"sqlite://{path or self.path}")

    def run_sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement)

    def failure(self) -> str:
        """The one line about what is wrong, without the variable's name; a plain check says the same."""
        found, [line] = try_store(self.url())
        self.assertIsNone(found)
        refused = self.assertRaises(SettingsError, engine_for, self.url(), changes=False)
        self.assertEqual(str(refused), f"RESULT_STORE: {line}")
        return line

    def test_no_file(self) -> None:
        """A file that is not there is no mistake, and is not made."""
        engine_for(self.url(), changes=False)
        self.assertEqual(try_store(self.url()), ("the start will make the file", []))
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_empty_file(self) -> None:
        """A file without tables stays so."""
        self.path.touch()
        engine_for(self.url(), changes=False)
        found, wrong = try_store(self.url())
        self.assertIn("the start will make its tables", str(found))
        self.assertEqual((wrong, self.path.read_bytes()), ([], b""))

    def test_ours(self) -> None:
        """A store that is there is described by the version of its schema, also while another process uses it."""
        SQLite(self.path).check(changes=True)
        with closing(sqlite3.connect(self.path)) as reader:
            reader.execute("SELECT * FROM requests").fetchall()
            found, wrong = try_store(self.url())
        self.assertEqual(wrong, [])
        self.assertTrue(str(found).endswith(f"; schema version {VERSION}"), found)

    def test_no_folder(self) -> None:
        """A folder that is not there fails."""
        self.path = self.path.parent / "none" / "r.db"
        self.assertIn(
            "there is no folder", str(self.assertRaises(SettingsError, engine_for, self.url(), changes=False))
        )

    def test_newer(self) -> None:
        """A newer program's schema fails."""
        SQLite(self.path).check(changes=True)
        self.run_sql(f"INSERT INTO schema_version VALUES ({VERSION + 1})")
        self.assertIn(f"version {VERSION + 1}, this program knows {VERSION}", self.failure())

    def test_of_others(self) -> None:
        """Another program's database, and a file that is none, fail."""
        self.run_sql("CREATE TABLE requests (id)")
        self.assertIn("another program's database", self.failure())
        self.path.write_bytes(b"no database at all\n" * 100)
        self.assertIn("no SQLite database", self.failure())

    def test_locked(self) -> None:
        """A file that another process has locked is no mistake of the settings, but a failure of the trial."""
        SQLite(self.path).check(changes=True)
        self.patch(sqlite, "_BUSY_TIMEOUT", 0.01)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            engine_for(self.url(), changes=False)
            found, [line] = try_store(self.url())
        self.assertIsNone(found)
        self.assertIn("another process has locked the file", line)

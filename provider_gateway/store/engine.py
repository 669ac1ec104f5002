"""What differs between the databases: the interface that SQLite and PostgreSQL implement."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from provider_gateway.store.transaction import Transaction


class Verdict(Enum):
    """What an error of the database means for the transaction that it ended. Nothing of it was committed, as a rule."""

    #: Another replica was faster, or a deadlock was resolved: repeat the transaction at once.
    REPEAT = "repeat"
    #: The database cannot be reached, is full, locked or stopping: the connection is dropped; try again later.
    AWAY = "away"
    #: One of the operations cannot be stored: repeat them one by one, so that it fails alone.
    DATA = "data"


class Conflict(Exception):
    """Another transaction inserted a row with this id or key after ours had looked. Means :attr:`Verdict.REPEAT`."""


class Engine(Protocol):
    """A database. One object is shared by all threads of a store; methods get the connection that they work on.

    Attributes:
        name: of the database, for people.
        module: name of its DB-API module, for :class:`twisted.enterprise.adbapi.ConnectionPool`.
        arguments: what ``connect`` of that module gets.
        readers: how many connections read beside the one that writes.
    """

    name: str
    module: str
    arguments: Mapping[str, Any]
    readers: int

    def check(self, *, changes: bool) -> None:
        """Look for mistakes in the settings, before anything is opened. Runs in the reactor's thread, and is fast.

        Args:
            changes: False if nothing may be created or changed.

        Raises:
            SettingsError: this store can never work: a driver is missing, a folder cannot be written.
        """
        ...

    def prepare(self, connection: Any) -> None:
        """Make a new connection ready: settings that it needs. Runs in its thread, as all that follow."""
        ...

    def migrate(self, connection: Any) -> None:
        """Bring the schema to this program's version, under a lock: several processes may start at once.

        Raises:
            SettingsError: the schema is newer than this program, or the database is not ours.
        """
        ...

    def writing(self, connection: Any) -> AbstractContextManager[Transaction]:
        """A transaction that is committed at the end, and rolled back if an exception leaves it."""
        ...

    def reading(self, connection: Any) -> AbstractContextManager[Transaction]:
        """A transaction that only reads."""
        ...

    def judge(self, error: Exception) -> Verdict:
        """What an error means that ``connect`` or a method of this class or of a transaction raised."""
        ...

    def explain(self, error: Exception) -> str:
        """One line for logs and ``--check``: what is wrong and what to do. It has no secret."""
        ...

    def interrupt(self, connection: Any) -> None:
        """Make a thread that is stuck on a connection come back with an error. Runs in the reactor's thread."""
        ...

    def describe(self, connection: Any) -> str:
        """For ``--check --connect``: what the connection leads to.

        Raises:
            SettingsError: the schema is newer than this program, or the database is not ours.
        """
        ...

    def problems(self, connection: Any) -> list[str]:
        """For ``--check --connect``: what would lose committed data or keep the store from working, one line each."""
        ...

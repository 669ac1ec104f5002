"""The tables, and the steps from one version of the schema to the next. Types in braces are the engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.store.transaction import Transaction

#: Statements that lead to version 1, 2, … A step that was released is never changed.
_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE requests (
            id {text} PRIMARY KEY, owner {text}, routing_key {text} NOT NULL, rquid {text} NOT NULL,
            created {integer} NOT NULL, expires {integer} NOT NULL, status {text} NOT NULL, finished {integer},
            attempts {integer}, model_status {integer}, webhook {text}, key {blob}, fingerprint {blob},
            key_expires {integer}, accept_by {integer}
        ){options}""",
        "CREATE UNIQUE INDEX requests_key ON requests (key) WHERE key IS NOT NULL",
        "CREATE INDEX requests_owner ON requests (owner, created DESC, id DESC) WHERE owner IS NOT NULL",
        # Pending records that are due, their number and the oldest of them; final records to purge.
        "CREATE INDEX requests_status ON requests (status, expires, created)",
        """CREATE TABLE results (
            id {text} PRIMARY KEY, expires {integer} NOT NULL, status {integer} NOT NULL, headers {blob} NOT NULL,
            content_type {text}, content_encoding {text}, body {blob} NOT NULL
        ){options}""",
        "CREATE INDEX results_expires ON results (expires)",
    ),
)
VERSION = len(_STEPS)


def migrate(transaction: Transaction, types: Mapping[str, str]) -> None:
    """Bring the schema to :data:`VERSION`. The caller holds a lock that other processes respect.

    Args:
        types: the engine's names for ``text`` (compared by bytes), ``integer`` (64 bits) and ``blob``, and ``options``
            that follow the columns of a table.

    Raises:
        SettingsError: the schema is newer than this program.
    """
    transaction.execute("CREATE TABLE IF NOT EXISTS schema_version (version {integer} NOT NULL)".format(**types))
    row = transaction.execute("SELECT max(version) FROM schema_version").fetchone()
    found = row[0] or 0
    refuse_newer(found)
    for version, statements in enumerate(_STEPS[found:], found + 1):
        for statement in statements:
            transaction.execute(statement.format(**types))
        transaction.execute("INSERT INTO schema_version (version) VALUES (?)", (version,))


def refuse_newer(found: int) -> None:
    """Refuse a schema of a newer program.

    Raises:
        SettingsError: it is newer.
    """
    if found > VERSION:
        msg = (
            f"RESULT_STORE: the schema of the store has version {found}, this program knows {VERSION}: "
            "run the newer program, or use another store"
        )
        raise SettingsError(msg)


def described(found: int) -> str:
    """What the start makes of a schema with this version; 0 for none."""
    if found == VERSION:
        return f"schema version {found}"
    if not found:
        return "the start will make its tables"
    return f"schema version {found}, which the start will bring to {VERSION}"

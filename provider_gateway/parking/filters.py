"""Which parked messages are meant: conditions that all have to hold. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import re2

from provider_gateway.parking.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provider_gateway.parking.parked_message import Outline, ParkedMessage

_ID = re.compile(r"[0-9a-f]{32}")
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
#: Characters of a search pattern, and of any other text.
MAX_PATTERN, MAX_TEXT = 1000, 4096
LARGEST_LIMIT = 2**31
#: Ids that a job's document shows.
_IDS_SHOWN = 20


def _pattern(text: str) -> Any:
    """A compiled search pattern. It is for bytes: what is searched need not be text.

    Raises:
        re2.error: it is malformed, or too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = False
    return re2.compile(text.encode(), options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on parked messages. All that are given have to hold; if none is, every message matches.

    Attributes:
        ids: ids of messages; the empty set matches none, None all.
        reasons: the message was parked for one of these.
        rquid: the request id.
        identity: the identity of the caller.
        since: parked at this time or later, in seconds since 1970.
        before: parked before it. A message of which nobody knows when it was parked matches neither.
        grep: a regular expression of RE2, searched in the values of headers and in the whole body, as UTF-8.
        limit: only so many, from the head of the queue. :meth:`matches` does not look at it.
    """

    ids: frozenset[str] | None = None
    reasons: frozenset[str] = frozenset()
    rquid: str | None = None
    identity: str | None = None
    since: float | None = None
    before: float | None = None
    grep: str | None = None
    limit: int | None = None

    @property
    def is_everything(self) -> bool:
        """True if no condition is given, and no limit."""
        return self == Filter()

    @property
    def is_of_outlines(self) -> bool:
        """True if an outline says whether a message matches."""
        return all(each is None for each in (self.ids, self.rquid, self.identity, self.grep))

    def matches_outline(self, message: Outline | ParkedMessage) -> bool:
        """True if the conditions on reason and time hold for a message."""
        at = message.parked_at
        return (
            (not self.reasons or message.reason in self.reasons)
            and (self.since is None or (at is not None and at >= self.since))
            and (self.before is None or (at is not None and at < self.before))
        )

    def matches(self, message: ParkedMessage, body: bytes) -> bool:
        """True if all conditions hold for a message.

        Args:
            body: its whole body.
        """
        return (
            (self.ids is None or message.id in self.ids)
            and self.matches_outline(message)
            and (self.rquid is None or message.rquid == self.rquid)
            and (self.identity is None or message.identity == self.identity)
            and (self.grep is None or self._finds(message, body))
        )

    def _finds(self, message: ParkedMessage, body: bytes) -> bool:
        # Compiled patterns are cached by re2 itself.
        assert self.grep is not None
        search = _pattern(self.grep).search
        return search(body) is not None or any(search(each) is not None for each in _searched(dict(message.headers)))

    @classmethod
    def from_values(
        cls,
        *,
        now: float,
        ids: Sequence[str] | None = None,
        reasons: Sequence[str] = (),
        rquid: str | None = None,
        identity: str | None = None,
        since: str | None = None,
        older_than: str | None = None,
        grep: str | None = None,
        limit: str | int | None = None,
    ) -> Filter:
        """A filter from texts, as they stand in a query string, in JSON, or on the command line.

        An empty text is an error, and no missing condition: a variable that is empty by mistake must not make
        everything match. A form leaves out the fields that are empty.

        Args:
            now: seconds since 1970.
            since: a time such as ``2026-01-31T08:00:00+01:00`` (ISO 8601; UTC without an offset), or a time ago, such
                as ``2h``.
            older_than: the same.
            limit: a whole number.

        Raises:
            FilterError: a value is malformed.
        """
        for name, value in (("rquid", rquid), ("identity", identity), ("grep", grep)):
            _check_text(name, value)
        for reason in reasons:
            _check_text("reason", reason)
        for id_ in ids or ():
            if not isinstance(id_, str) or _ID.fullmatch(id_) is None:
                _refuse("id", id_, "an id is 32 hexadecimal digits, as the list shows it")
        if grep is not None:
            _check_pattern(grep)
        return cls(
            ids=None if ids is None else frozenset(ids),
            reasons=frozenset(reasons),
            rquid=rquid,
            identity=identity,
            since=None if since is None else _time("since", since, now),
            before=None if older_than is None else _time("older_than", older_than, now),
            grep=grep,
            limit=None if limit is None else _limit(limit),
        )

    def document(self) -> dict[str, Any]:
        """The conditions that are given, as JSON has them."""
        given = {
            "ids": None if self.ids is None else sorted(self.ids),
            "reasons": sorted(self.reasons) or None,
            "rquid": self.rquid,
            "identity": self.identity,
            "since": self.since,
            "before": self.before,
            "grep": self.grep,
            "limit": self.limit,
        }
        return {name: value for name, value in given.items() if value is not None}

    def shown(self) -> dict[str, Any]:
        """The same for a job's document: ids, if they are many, are left out but for the first ones."""
        document = self.document()
        if len(document.get("ids", ())) > _IDS_SHOWN:
            document["ids"] = [*document["ids"][:_IDS_SHOWN], "…"]
        return document


def _refuse(name: str, value: object, expected: str) -> NoReturn:
    msg = f"{name}: {expected}; found {ascii(value)[:60]}."
    raise FilterError(msg)


def _check_text(name: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= MAX_TEXT):
        _refuse(name, value, f"expected a text of 1 to {MAX_TEXT} characters")


def _check_pattern(text: str) -> None:
    if len(text) > MAX_PATTERN:
        _refuse("grep", text, f"expected at most {MAX_PATTERN} characters")
    try:
        _pattern(text)
    except (re2.error, UnicodeEncodeError) as error:
        why = error.args[0] if error.args and isinstance(error, re2.error) else "not Unicode"
        why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        _refuse("grep", text, f"expected a regular expression of RE2 ({why})")


def _time(name: str, text: object, now: float) -> float:
    """A time in seconds since 1970."""
    if isinstance(text, str):
        if (ago := _AGE.fullmatch(text)) is not None:
            return now - int(ago[1]) * _UNITS[ago[2]]
        try:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    _refuse(name, text, "expected a time ago, such as 30m, 2h or 7d, or a date, such as 2026-01-31T08:00:00Z")


def _limit(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        value = int(value)
    if type(value) is not int or not 1 <= value <= LARGEST_LIMIT:
        _refuse("limit", value, "expected a whole number from 1")
    return value


def _searched(value: object) -> Iterator[bytes]:
    """The values in a header table as bytes, those in lists and tables, too."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += each.values()
        elif isinstance(each, (list, tuple)):
            todo += each
        elif isinstance(each, bytes):
            yield each
        elif each is not None:
            yield str(each).encode("utf-8", "surrogateescape")

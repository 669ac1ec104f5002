"""What callers ask of parking queues: query strings and JSON bodies as filters and jobs.

Nothing is guessed or left out: a name that is not known, twice a value, an empty one or a null is an error. Otherwise a
mistake in a filter would have all messages replayed, or dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, UnsetType

from provider_gateway.errors import BadRequest, BodyTooLarge, NotFound
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobRequest
from provider_gateway.workbench.errors import CountNeeded

if TYPE_CHECKING:
    from provider_gateway.parking.operators import Operator

#: Bytes of a body: room for the most ids.
_MAX_BODY = 1_048_576
MOST_IDS, MOST_REASONS = 20_000, 100
#: Messages of a page; the last position that a page can begin behind.
USUAL_LIMIT, LARGEST_LIMIT, LARGEST_AFTER = 100, 1000, 2**53
#: ``expected_count``, ``rate`` and ``why`` of a job, at most.
LARGEST_COUNT, LARGEST_RATE, LONGEST_WHY = 2**53, 1_000_000, 1000
_ONE = frozenset({"rquid", "identity", "since", "older_than", "grep"})
_LISTS = {"reason": "reasons", "id": "ids"}
_PAGE = frozenset({"limit", "after"})

_ID = re.compile(r"[0-9a-f]{8,64}")
_Ids = Annotated[list[str], Meta(min_length=1, max_length=MOST_IDS)]


class _Conditions(msgspec.Struct, forbid_unknown_fields=True):
    """``filter`` of a body; the names are those of the query."""

    reason: Annotated[list[str], Meta(min_length=1, max_length=MOST_REASONS)] | str | UnsetType = UNSET
    id: _Ids | str | UnsetType = UNSET
    rquid: str | UnsetType = UNSET
    identity: str | UnsetType = UNSET
    since: str | UnsetType = UNSET
    older_than: str | UnsetType = UNSET
    grep: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to replay or drop."""

    ids: _Ids | UnsetType = UNSET
    filter: _Conditions | UnsetType = UNSET
    all: bool | UnsetType = UNSET
    rate: Annotated[float, Meta(gt=0, le=LARGEST_RATE)] | UnsetType = UNSET
    expected_count: Annotated[int, Meta(ge=0, le=LARGEST_COUNT)] | UnsetType = UNSET
    force: bool = False
    dry_run: bool = False
    why: Annotated[str, Meta(max_length=LONGEST_WHY)] = ""


_DECODER = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What a list is asked for.

    Attributes:
        filter: its conditions.
        given: the parameters of these, as they were sent: the next page has the same.
        limit: messages of one page.
        after: the page begins behind this position.
    """

    filter: Filter
    given: tuple[tuple[str, str], ...]
    limit: int
    after: int


def list_request(uri: bytes, now: float) -> ListRequest:
    """Read the query of a list.

    Raises:
        BadRequest: a parameter is unknown, malformed, empty, or stands twice and may not.
    """
    pairs = _query(uri)
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in _LISTS:
            values.setdefault(_LISTS[name], []).append(value)
        elif name not in _ONE | _PAGE:
            msg = f"There is no parameter {name[:80]!r}; there are {', '.join(sorted(_ONE | _PAGE | _LISTS.keys()))}."
            raise BadRequest(msg)
        elif name in values:
            msg = f"The parameter {name} was given twice."
            raise BadRequest(msg)
        else:
            values[name] = value
    limit = _number(values.pop("limit", str(USUAL_LIMIT)), "limit", 1, LARGEST_LIMIT)
    after = _number(values.pop("after"), "after", 0, LARGEST_AFTER) if "after" in values else -1
    given = tuple((name, value) for name, value in pairs if name not in _PAGE)
    return ListRequest(Filter.from_values(now=now, **values), given, limit, after)


def checked_id(id_: str) -> None:
    """Check the form of an id of a message or a job.

    Raises:
        NotFound: there is none of that form.
    """
    if not _ID.fullmatch(id_):
        msg = "There is nothing at this path: ids are hexadecimal digits, as lists show them."
        raise NotFound(msg)


def no_query(uri: bytes) -> None:
    """Check that there is no parameter where none has a meaning.

    Raises:
        BadRequest: there is one.
    """
    if _query(uri):
        msg = "This path takes no parameters; conditions stand in the body."
        raise BadRequest(msg)


def job_request(
    body: bytes, action: Literal["replay", "drop"], queue: str, operator: Operator, now: float
) -> JobRequest:
    """Read the body of a request to replay or drop.

    Raises:
        BadRequest: it is malformed, or does not say which messages.
        BodyTooLarge: it is larger than such a body can be.
        CountNeeded: messages are to be dropped by a filter, and the body does not say how many there are.
    """
    if len(body) > _MAX_BODY:
        msg = f"The body has {len(body)} bytes; {_MAX_BODY} are allowed here."
        raise BodyTooLarge(msg)
    try:
        wanted = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        msg = f"The body: {error}." if isinstance(error, msgspec.DecodeError) else "The body is not JSON."
        raise BadRequest(msg) from None
    given = [name for name in ("ids", "filter", "all") if getattr(wanted, name) is not UNSET]
    if len(given) != 1 or wanted.all is False:
        msg = 'The body: expected one of "ids": […], "filter": {…} and "all": true, which says which messages.'
        raise BadRequest(msg)
    conditions = _conditions(wanted)
    if wanted.filter is not UNSET and not conditions:
        msg = 'The body: the filter has no condition. For all messages say "all": true.'
        raise BadRequest(msg)
    if action == "drop" and given != ["ids"] and wanted.expected_count is UNSET and not wanted.dry_run:
        msg = (
            "To drop messages by a filter, or all, say how many there are: expected_count, which is the matching of a "
            "list. If there are more or fewer by then, nothing is done."
        )
        raise CountNeeded(msg)
    if action == "drop" and wanted.force:
        msg = "The body: force is for replays."
        raise BadRequest(msg)
    return JobRequest(
        action=action,
        queue=queue,
        operator=operator,
        filter=Filter.from_values(now=now, **conditions),
        rate=None if wanted.rate is UNSET else wanted.rate,
        expected_count=None if wanted.expected_count is UNSET else wanted.expected_count,
        force=wanted.force,
        dry_run=wanted.dry_run,
        why=wanted.why,
    )


def _conditions(wanted: _Body) -> dict[str, Any]:
    """The arguments of :meth:`.Filter.from_values`."""
    if wanted.ids is not UNSET:
        return {"ids": wanted.ids}
    if wanted.filter is UNSET:
        return {}
    values = {name: getattr(wanted.filter, name) for name in wanted.filter.__struct_fields__}
    conditions = {name: value for name, value in values.items() if value is not UNSET}
    for name, argument in _LISTS.items():
        if name in conditions:
            value = conditions.pop(name)
            conditions[argument] = [value] if isinstance(value, str) else value
    return conditions


def _query(uri: bytes) -> list[tuple[str, str]]:
    try:
        text = uri.partition(b"?")[2].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=200)
    except ValueError:  # UnicodeDecodeError is one
        msg = "The query is malformed: expected at most 200 parameters name=value, as UTF-8, percent-encoded."
        raise BadRequest(msg) from None


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        msg = f"The parameter {name} is a whole number from {least} to {most}."
        raise BadRequest(msg)
    return int(text)

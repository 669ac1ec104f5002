"""Reads the parts of PromQL that a check of names needs: selectors with labels, grouping labels, durations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Words that are followed by labels in parentheses.
GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
OPERATORS = frozenset({"and", "or", "unless", "bool", "offset"})
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<range>\[[^\]]*\])
      | (?P<duration>\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*)
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>])""",
    re.VERBOSE,
)
_DURATION = re.compile(r"\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*")
#: Grafana's variables that are durations.
_DURATION_VARIABLES = frozenset({"$__rate_interval", "$__interval", "$__range"})


class QueryError(Exception):
    """The text is not a query; the message says where it is wrong."""


@dataclass(frozen=True)
class Matcher:
    """``label operator value`` in braces; the value is a regular expression or text, without quotes."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Selector:
    """A metric with its matchers, and the range in brackets after it, if there is one."""

    metric: str
    matchers: tuple[Matcher, ...]
    range: str | None


@dataclass(frozen=True)
class Query:
    """The selectors, functions and grouping labels of a query."""

    selectors: tuple[Selector, ...]
    functions: frozenset[str]
    grouping: frozenset[str]


def is_duration(text: str) -> bool:
    """True for a duration of Prometheus, such as ``1h30m``."""
    return _DURATION.fullmatch(text) is not None


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            msg = f"no PromQL at {text[position : position + 20]!r} in {text!r}"
            raise QueryError(msg)
        position = found.end()
        kind = str(found.lastgroup)
        if kind != "space":
            yield kind, found[0]


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), ("end", "")]
        self._at = 0
        self.selectors: list[Selector] = []
        self.functions: set[str] = set()
        self.grouping: set[str] = set()

    def _next(self) -> tuple[str, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _expect(self, *texts: str) -> str:
        _, text = self._next()
        if text not in texts:
            msg = f"expected {' or '.join(texts)}, found {text!r} in {self._text!r}"
            raise QueryError(msg)
        return text

    def read(self) -> None:
        depth = 0
        while (token := self._next())[0] != "end":
            kind, text = token
            depth += {"(": 1, ")": -1}.get(text, 0)
            if kind == "range":
                self._check_range(text)
            elif kind == "name":
                self._name(text)
            elif text in {"{", "}"} or depth < 0:
                msg = f"unexpected {text!r} in {self._text!r}"
                raise QueryError(msg)
        if depth:
            msg = f"unbalanced parentheses in {self._text!r}"
            raise QueryError(msg)

    def _name(self, text: str) -> None:
        if text in GROUPING:
            self._labels()
        elif text == "offset":
            if not is_duration(self._next()[1]):
                msg = f"offset without a duration in {self._text!r}"
                raise QueryError(msg)
        elif text in OPERATORS:
            pass
        elif self._peek()[1] == "(" or self._peek()[1] in GROUPING:
            self.functions.add(text)
        else:
            self.selectors.append(Selector(text, tuple(self._matchers()), self._range()))

    def _labels(self) -> None:
        self._expect("(")
        while self._peek()[1] != ")":
            self.grouping.add(self._next()[1])
            if self._peek()[1] != ")":
                self._expect(",")
        self._expect(")")

    def _matchers(self) -> Iterator[Matcher]:
        if self._peek()[1] != "{":
            return
        self._next()
        while self._peek()[1] != "}":
            label = self._next()[1]
            operator = self._expect("=", "!=", "=~", "!~")
            kind, value = self._next()
            if kind != "text":
                msg = f"expected a text for {label}, found {value!r} in {self._text!r}"
                raise QueryError(msg)
            yield Matcher(label, operator, value[1:-1].replace("\\\\", "\\"))
            if self._peek()[1] != "}":
                self._expect(",")
        self._next()

    def _range(self) -> str | None:
        if self._peek()[0] != "range":
            return None
        return self._check_range(self._next()[1])

    def _check_range(self, text: str) -> str:
        inside = text[1:-1]
        if inside not in _DURATION_VARIABLES and not is_duration(inside):
            msg = f"{text} is no range, in {self._text!r}"
            raise QueryError(msg)
        return inside


def read(text: str) -> Query:
    """Read a query.

    Raises:
        QueryError: the text is not a query.
    """
    reader = _Reader(text)
    reader.read()
    return Query(tuple(reader.selectors), frozenset(reader.functions), frozenset(reader.grouping))

"""The result of a question: a table, bars with a verdict, panels of a plot. Plain values only."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True)
class Bar:
    """A limit that a figure has to meet. The verdict is computed, never written by hand."""

    text: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """True if the figure, as measured and not as rounded for print, meets the limit."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


@dataclass(frozen=True)
class Panel:
    """Groups of columns: one group for each place on the x axis, one column for each series."""

    title: str
    x_label: str
    y_label: str
    groups: list[str]
    series: dict[str, list[float]]
    is_logarithmic: bool = False


@dataclass(frozen=True)
class Section:
    """The result of one question."""

    name: str
    header: list[str]
    rows: list[list[str]]
    panels: list[Panel]
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def median(rounds: Iterable[Any], value: Callable[[Any], float]) -> float:
    """The median of a figure over rounds."""
    return statistics.median(value(each) for each in rounds)


def digits(value: float) -> str:
    """A figure with its significant digits."""
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"

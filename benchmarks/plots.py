"""Plots of a section, as SVG. Only this module needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.section import digits

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.section import Panel, Section

_COLOURS = {
    "ours": "#1f6feb",
    "peer": "#b0b7c0",
    **dict.fromkeys(("ours, at the peer's rate", "ours, 2 workers"), "#9ec5fe"),
}
#: Inches.
_WIDTH, _HEIGHT = 3.4, 3.0


def draw(section: Section, path: Path) -> None:
    """Write all panels of a section side by side."""
    # The same figures make the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": section.name, "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(_WIDTH * len(section.panels), _HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(section.panels), squeeze=False)[0]
    for panel, each in zip(section.panels, axes, strict=True):
        _columns(panel, each)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")


def _columns(panel: Panel, axes: Axes) -> None:
    width = 0.8 / len(panel.series)
    for number, (name, values) in enumerate(panel.series.items()):
        places = [place + (number - (len(panel.series) - 1) / 2) * width for place in range(len(panel.groups))]
        bars = axes.bar(places, values, width, label=name, color=_COLOURS.get(name))
        axes.bar_label(bars, fmt=digits, fontsize=7)
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.is_logarithmic:
        axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)

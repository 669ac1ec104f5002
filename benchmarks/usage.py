"""CPU time and memory of processes, as the kernel counts them in /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before it may hold any character (man 5 proc)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, including those that ended and were waited for."""
    return sum(int(ticks) for each in family(pid) for ticks in _fields(each)[11:15]) / _TICKS


def cpu_seconds_of_each(pid: int) -> dict[int, float]:
    """User and system time of a process and of each of its descendants."""
    return {each: sum(map(int, _fields(each)[11:13])) / _TICKS for each in family(pid)}


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process and its descendants, in KB: now, and the most since the last reset."""

    resident: int
    peak: int


def memory(pid: int) -> Memory:
    """Memory of a process and its descendants."""
    texts = [Path(f"/proc/{each}/status").read_text() for each in family(pid)]

    def total(name: str) -> int:
        return sum(int(size) for text in texts for size in re.findall(rf"^{name}:\s+(\d+)", text, re.MULTILINE))

    return Memory(total("VmRSS"), total("VmHWM"))


def reset_peak(pid: int) -> None:
    """Reset the peak to the memory held now."""
    for each in family(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")

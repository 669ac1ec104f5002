"""Libraries in C that tests load into processes: each is compiled once for a test run."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import TYPE_CHECKING

from tests.support.folders import folder

if TYPE_CHECKING:
    from pathlib import Path


@cache
def compiled(source: Path) -> Path:
    """The library of a source file."""
    library = folder() / f"{source.stem}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], check=True)
    return library

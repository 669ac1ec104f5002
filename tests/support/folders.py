"""The repository's root, and the temporary folder of a test run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def folder() -> Path:
    """A temporary folder that is removed when the tests end."""
    made = Path(tempfile.mkdtemp(prefix="provider-gateway-tests-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made

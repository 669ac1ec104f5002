"""Facts about a measurement: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.backends.openssl import backend

from benchmarks.subjects import PEER_OPTIONS, PEERS
from devtools.processes import ROOT

if TYPE_CHECKING:
    from devtools.rabbitmq import RabbitMQ

_OURS = ("twisted", "pika", "klein", "treq", "pyopenssl", "cryptography")
_PEERS = ("fastapi", "uvicorn", "uvloop", "httptools", "aio-pika", "aiohttp", "SQLAlchemy", "asyncpg", "aiosqlite")


def facts(broker: RabbitMQ) -> dict[str, str]:
    """The facts by name, in the order in which the document shows them."""
    processor = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert memory is not None
    requirements = dict(re.findall(r"^([\w.-]+)==(.+)$", (PEERS / "requirements.txt").read_text(), re.MULTILINE))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{processor[1] if processor else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"{int(memory[1]) / 1024**2:.0f} GB, Linux {platform.release()}",
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "Python": f"{platform.python_version()} for both",
        "broker": f"RabbitMQ {broker.control('version').strip()}",
        "ours": ", ".join(f"{name} {version(name)}" for name in _OURS) + f" ({backend.openssl_version_text()})",
        "peer": ", ".join(f"{name} {requirements[name]}" for name in _PEERS)
        + (f"; uvicorn {PEER_OPTIONS}" if PEER_OPTIONS else ""),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "provider_gateway")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")

"""axe-core, which checks pages for accessibility: fetched from npm at run time, and kept in the user's cache.

npm fetches it, from the registry of npm's own settings. Without npm, it comes from the registry that the variable
``npm_config_registry`` names.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import requests

VERSION = "4.14.1"
#: The package's digest, as npm calls it: npm view axe-core@VERSION dist.integrity.
INTEGRITY = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
_SECONDS = 60


class NotFetched(Exception):
    """axe-core cannot be had; the text says why and what to do."""


def source(cache: Path | None = None) -> str:
    """The script of axe-core.

    Args:
        cache: folder that keeps it; None for that of the user.

    Raises:
        NotFetched: it is not in the cache, and cannot be fetched.
    """
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provider-gateway"
    kept = cache / f"axe-core-{VERSION}.tgz"
    package = kept.read_bytes() if kept.exists() else b""
    if not _is_right(package):
        package = _fetched()
        if not _is_right(package):
            msg = f"axe-core {VERSION} was fetched, and is not what it should be: expected {INTEGRITY}"
            raise NotFetched(msg)
        cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(package)
        part.rename(kept)  # in one step: another run may fetch it, too
    with tarfile.open(fileobj=BytesIO(package)) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def _is_right(package: bytes) -> bool:
    kind, _, digest = INTEGRITY.partition("-")
    return base64.b64encode(hashlib.new(kind, package).digest()).decode() == digest


def _fetched() -> bytes:
    npm = shutil.which("npm")
    try:
        if npm is None:
            named = (value for name, value in os.environ.items() if name.lower() == "npm_config_registry")
            registry = next(named, None)
            if registry is None:
                msg = f"axe-core {VERSION} cannot be fetched: install npm, or name a registry in npm_config_registry"
                raise NotFetched(msg)
            response = requests.get(f"{registry.rstrip('/')}/axe-core/-/axe-core-{VERSION}.tgz", timeout=_SECONDS)
            response.raise_for_status()
            return response.content
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
            return (Path(folder) / f"axe-core-{VERSION}.tgz").read_bytes()
    except (OSError, subprocess.SubprocessError) as error:  # a RequestException is an OSError
        # Not the error's text: an address of a registry may have a password.
        way = "npm" if npm is not None else "the registry of npm_config_registry"
        msg = f"axe-core {VERSION} cannot be fetched through {way}: {type(error).__name__}. Try: npm pack axe-core"
        raise NotFetched(msg) from None

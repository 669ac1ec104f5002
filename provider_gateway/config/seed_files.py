"""Certificates where the seed's two services look for them."""

from __future__ import annotations

from pathlib import Path

_FOLDERS = (Path("/certs/gateway_mq"), Path("/certs/provider_mq"))


def seed_file(name: str) -> Path:
    """The file in the first of the seed's folders that has it; its path in the first folder if none has."""
    candidates = [folder / name for folder in _FOLDERS]
    return next((path for path in candidates if path.exists()), candidates[0])


def seed_file_if_there(name: str) -> Path | None:
    """The file in the first of the seed's folders that has it; None if none has."""
    path = seed_file(name)
    return path if path.exists() else None

"""The Kustomize overlays, with and without their optional components."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from tests.deployment.manifests import (
    ROOT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: With RabbitMQ.
OVERLAYS = ("single", "split")
#: With a broker of one's own.
OWN_BROKER = ("own-broker-single", "own-broker-split")


def with_optional_components(folder: Path, *, only: Iterable[str] | None = None) -> Path:
    """A copy of openshift/ whose overlays include their optional components.

    Args:
        only: names of those that are included; None for all.
    """
    shutil.copytree(ROOT, folder)
    names = r"\S+" if only is None else "|".join(only) or "(?!)"
    for overlay in (*OVERLAYS, *OWN_BROKER):
        file = folder / f"kubernetes/overlays/{overlay}/kustomization.yaml"
        file.write_text(re.sub(rf"^  # (- ../../components/({names}))$", r"  \1", file.read_text(), flags=re.MULTILINE))
    return folder


def ordered(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects in the order of their kinds and names."""
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))

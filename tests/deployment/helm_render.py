"""Renders the chart with real Helm: ``python -m tests.deployment.helm_render FOLDER``.

Standard input has a list of values, as JSON. Standard output gets the rendered objects, or the error, for each of them,
and what ``helm lint`` says. It is a process of its own: Helm is a library in Go, with threads and signals of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]


def render(folder: Path, *values: dict[str, Any]) -> dict[str, Any]:
    """What the command below prints: ``rendered``, a list with ``objects`` or ``error`` for each, and ``lint``."""
    command = [sys.executable, "-m", "tests.deployment.helm_render", str(folder)]
    ran = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def main() -> None:
    """The command."""
    folder = sys.argv[1]
    rendered: list[dict[str, Any]] = []
    with helm_python.Chart.load(folder) as chart:
        for values in json.load(sys.stdin):
            try:
                texts = chart.render(values, name="release", namespace="provider-gateway")
            except helm_python.HelmError as error:
                rendered.append({"error": str(error)})
            else:
                objects = [each for text in texts.values() for each in yaml.safe_load_all(text) if each]
                rendered.append({"objects": objects})
    json.dump({"rendered": rendered, "lint": helm_python.lint(folder)}, sys.stdout)


if __name__ == "__main__":
    main()

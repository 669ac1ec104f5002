"""Print the lowest versions that setup.py allows, as constraints for pip: ``python -m devtools.lowest_versions``.

They are those of the packages that setup.py names; pip chooses versions of the packages that these need.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.py"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(\[[a-z,]+\])?>=([0-9.]+)(,<[0-9.]+)?")


def requirements(setup: str) -> list[str]:
    """The requirements of a setup.py, and those of its extras that the program can use.

    Args:
        setup: its text.
    """
    found = {
        each.arg: ast.literal_eval(each.value)
        for each in ast.walk(ast.parse(setup))
        if isinstance(each, ast.keyword) and each.arg in {"install_requires", "extras_require"}
    }
    extras = found["extras_require"]
    return [*found["install_requires"], *extras["postgresql"], *extras["grpc"], *extras["collector"]]


def lowest(requirement: str) -> str:
    """A constraint to the lowest version of a requirement: ``a==1`` for ``a>=1,<2``.

    Raises:
        ValueError: the requirement has no lower bound, or is of a form that is not known here.
    """
    parts = _REQUIREMENT.fullmatch(requirement)
    if parts is None:
        msg = f"setup.py: {requirement}: expected NAME>=VERSION or NAME>=VERSION,<VERSION"
        raise ValueError(msg)
    return f"{parts[1]}=={parts[3]}"


if __name__ == "__main__":
    print("\n".join(map(lowest, requirements(SETUP.read_text()))))

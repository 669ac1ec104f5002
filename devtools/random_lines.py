"""Ten lines of the program at random, to test docs/architecture.md on a reader: in which module does each stand?

``python -m devtools.random_lines SEED`` prints each line with the class and function around it; with ``--places`` it
prints where it stands, too. A line is a whole statement of at least 40 characters that is no import and no docstring.
"""

from __future__ import annotations

import argparse
import ast
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COUNT = 10
_LEAST_CHARACTERS = 40


def statements(path: Path) -> list[tuple[str, str]]:
    """The place and the text of each statement of a module that fits on one line.

    Returns:
        Places as file and line; texts with the names of the class and the function around them.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        is_line = isinstance(node, ast.stmt) and node.lineno == node.end_lineno
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_line and not is_docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            line = lines[node.lineno - 1].strip()
            if len(line) >= _LEAST_CHARACTERS:
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", f"{'.'.join(names) or 'module'}: {line}"))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = (*names, node.name)
        for child in ast.iter_child_nodes(node):
            visit(child, names)

    visit(ast.parse(text), ())
    return found


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(prog="python -m devtools.random_lines", description="Ten lines at random.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--places", action="store_true", help="print where they stand, too")
    given = parser.parse_args()
    found = [each for path in sorted((ROOT / "provider_gateway").rglob("*.py")) for each in statements(path)]
    for place, line in random.Random(given.seed).sample(found, COUNT):
        print(f"{place}: {line}" if given.places else line)


if __name__ == "__main__":
    main()

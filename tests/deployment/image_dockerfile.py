"""Reads a Dockerfile and a .dockerignore. It knows only the instructions that ours uses."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN = frozenset({"ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR"})


@dataclass(frozen=True)
class Instruction:
    """One instruction; ``text`` is everything after its name, with variables not yet replaced."""

    name: str
    text: str

    def words(self, variables: dict[str, str]) -> list[str]:
        """The words of the text, as the builder reads them."""
        return shlex.split(expand(self.text, variables))

    def pairs(self, variables: dict[str, str]) -> dict[str, str]:
        """The ``NAME=value`` pairs of an ARG, ENV or LABEL; an ARG without a default is left out."""
        return dict(word.split("=", 1) for word in self.words(variables) if "=" in word)


@dataclass
class Stage:
    """One FROM and the instructions that follow it.

    Attributes:
        base: its base image.
        name: name for other stages; empty without AS.
    """

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Its instructions of this name."""
        return [each for each in self.instructions if each.name == name]

    def variables(self) -> dict[str, str]:
        """Variables that its ARG and ENV instructions set, without arguments of the builder."""
        found: dict[str, str] = {}
        for each in self.instructions:
            if each.name in {"ARG", "ENV"}:
                found |= each.pairs(found)
        return found

    def environment(self) -> dict[str, str]:
        """Variables that its ENV instructions set."""
        variables = self.variables()
        return {name: value for each in self.all("ENV") for name, value in each.pairs(variables).items()}

    def only(self, name: str) -> str:
        """The text of the one instruction of this name."""
        (instruction,) = self.all(name)
        return instruction.text

    def entrypoint(self) -> list[str]:
        """The words of its ENTRYPOINT, which has to be in the exec form (without a shell)."""
        words: list[str] = json.loads(self.only("ENTRYPOINT"))
        return words


def expand(text: str, variables: dict[str, str]) -> str:
    """The text with ``${NAME}`` replaced; KeyError for a name that is not set."""
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)


def _instructions(text: str) -> Iterator[Instruction]:
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(kept)).splitlines():
        name, _, rest = line.partition(" ")
        if name not in KNOWN:
            msg = f"{name}: not an instruction that the tests of the image know; add it there"
            raise ValueError(msg)
        yield Instruction(name, rest.strip())


def stages(dockerfile: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for each in _instructions(dockerfile.read_text(encoding="utf-8")):
        if each.name == "FROM":
            base, _, name = expand(each.text, arguments).partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].instructions.append(each)
        else:
            arguments |= each.pairs(arguments)
    return found


class Context:
    """The files of a folder that a .dockerignore lets through to the builder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        lines = (folder / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self._patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def has(self, path: str) -> bool:
        """True if the file with this path, relative to the folder, is sent. The last matching pattern decides."""
        sent = True
        parts = path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for pattern in self._patterns:
            wanted = pattern.removeprefix("!")
            if any(_fits(prefix, wanted) for prefix in prefixes):
                sent = pattern.startswith("!")
        return sent

    def files(self, source: str) -> Iterator[Path]:
        """The files that ``COPY source`` copies, relative to the folder."""
        root = self._folder / source
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            relative = path.relative_to(self._folder)
            if path.is_file() and self.has(relative.as_posix()):
                yield relative


def _fits(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatchcase(path.rpartition("/")[2], pattern[3:])
    # A star in our patterns matches one part of a path.
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)

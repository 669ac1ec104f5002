"""Builds the Dockerfile without a container engine: runs its instructions on a stand-in for the base image."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tests.deployment.image_dockerfile import Context, Stage, expand, stages
from tests.deployment.image_root import PATH, Root
from tests.support.folders import ROOT, folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Image:
    """The result of a build.

    Attributes:
        root: its file system.
        environment: environment variables of its processes.
        folder: folder in which they start.
        user: user and group id.
    """

    root: Root
    environment: dict[str, str]
    folder: str
    user: str
    entrypoint: tuple[str, ...]


class Build:
    """One run through a Dockerfile.

    Args:
        context: the folder that is sent to the builder.
        work: folder in which the root file systems are made.
    """

    def __init__(self, context: Path, work: Path) -> None:
        self._context = context
        self._files = Context(context)
        self._work = work
        self._built: dict[str, Root] = {}

    def image(self, dockerfile: Path) -> Image:
        """The image of the last stage."""
        for stage in stages(dockerfile):
            root, folder = self._stage(stage)
        user = stage.all("USER")[-1].text if stage.all("USER") else "0:0"
        environment = {"PATH": PATH, **stage.environment()}
        return Image(root, environment, folder, user, tuple(stage.entrypoint()))

    def _stage(self, stage: Stage) -> tuple[Root, str]:
        root = Root(self._work / (stage.name or "final"))
        self._built[stage.name] = root
        variables: dict[str, str] = {}
        folder = "/"
        for each in stage.instructions:
            if each.name in {"ARG", "ENV"}:
                variables |= each.pairs(variables)
            elif each.name == "WORKDIR":
                folder = expand(each.text, variables)
                root.path(folder).mkdir(parents=True, exist_ok=True)
            elif each.name == "COPY":
                self._copy(root, folder, each.words(variables))
            elif each.name == "RUN":
                root.run(each.text, variables, folder)
        return root, folder

    def _copy(self, root: Root, folder: str, words: list[str]) -> None:
        option = next((word for word in words if word.startswith("--from=")), None)
        *sources, target = [word for word in words if not word.startswith("--")]
        place = root.path(os.path.join(folder, target))
        for source in sources:
            if option:
                origin = self._built[option.removeprefix("--from=")].path(source)
                shutil.copytree(origin, place, symlinks=True)
            else:
                self._copy_files(source, place, is_folder=target.endswith("/"))
        _round_times([place, *place.rglob("*")])

    def _copy_files(self, source: str, place: Path, *, is_folder: bool) -> None:
        copied = list(self._files.files(source))
        assert copied, f"COPY {source}: nothing of it passes .dockerignore"
        for relative in copied:
            if (self._context / source).is_dir():
                to = place / relative.relative_to(source)  # a folder's contents, not the folder
            else:
                to = place / relative.name if is_folder else place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._context / relative, to)


def _round_times(paths: Iterable[Path]) -> None:
    """Round times down to whole seconds, as in the layers of an image: their archives have no fractions."""
    for path in paths:
        seconds = int(path.lstat().st_mtime)
        os.utime(path, (seconds, seconds), follow_symlinks=False)


@cache
def image() -> Image:
    """The image of this repository, built once per test run."""
    return Build(ROOT, folder() / "image").image(ROOT / "Dockerfile")

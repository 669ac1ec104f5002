"""A root file system in a folder, to run commands in: the machine's /usr, read-only, and its own Python.

It stands in for Python's official image, whose Python is in /usr/local, too. Each command runs in its own mount
namespace, so nothing has to be unmounted. It works as root, or as another user where user namespaces are allowed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pip

IS_ROOT = os.geteuid() == 0
#: As in Python's images.
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Variables that a build takes from the machine: how to reach the package index.
_FROM_THE_MACHINE = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http", "no_proxy")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")


@dataclass(frozen=True)
class Mount:
    """A mount in a root: a folder or file of the machine, or an empty memory file system if ``source`` is None."""

    path: str
    source: Path | None = None
    read_only: bool = True

    def command(self, root: Path) -> str:
        """The shell command that mounts it."""
        target = shlex.quote(f"{root}{self.path}")
        if self.source is None:
            # A mount may lie within another one, where its folder does not exist yet.
            return f"mkdir -p {target} && mount -t tmpfs -o mode=2770 tmpfs {target}"
        return f"mount --rbind {'-o ro ' if self.read_only else ''}{shlex.quote(str(self.source))} {target}"


def namespace_options() -> list[str]:
    """Options of ``unshare`` that make an ordinary user the root of its namespaces; none if this is root."""
    return [] if IS_ROOT else ["--user", "--map-root-user"]


class Root:
    """The root file system.

    Args:
        folder: folder in which it is made; must not exist.
        has_python: False for programs that need none.
    """

    def __init__(self, folder: Path, *, has_python: bool = True) -> None:
        self.folder = folder
        self._libraries = Path(sysconfig.get_config_var("LIBDIR"))
        for name in ("proc", "dev", "usr", "tmp", "root", "etc/ssl", "local/bin", "local/lib"):
            (folder / name).mkdir(parents=True)
        for name in _MERGED:
            if (Path("/") / name).is_symlink():
                (folder / name).symlink_to(f"usr/{name}")
        for name in ("ld.so.cache", "ld.so.conf", "resolv.conf", "pip.conf"):
            if (Path("/etc") / name).exists():
                shutil.copyfile(Path("/etc") / name, folder / "etc" / name)
        (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (folder / "etc/group").write_text("root:x:0:\n")
        if has_python:
            self._install_python(folder / "local")
        if not self._libraries.is_relative_to("/usr"):
            self.path(str(self._libraries)).mkdir(parents=True)

    def path(self, inside: str) -> Path:
        """The place of a path of the root below the folder."""
        if inside == "/usr/local" or inside.startswith("/usr/local/"):
            inside = inside.removeprefix("/usr")
        return self.folder / inside.removeprefix("/")

    @staticmethod
    def _install_python(local: Path) -> None:
        """Copy this interpreter, its library without bytecode, and pip, as in the official images."""
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy2(Path(sys.executable).resolve(), local / "bin" / name)
        for link in ("python", "python3"):
            (local / "bin" / link).symlink_to(name)
        leave_out = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "test", "tests", "config-*")
        library = local / "lib" / name
        shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=leave_out, ignore_dangling_symlinks=True)
        (library / "site-packages").mkdir()
        about = distribution("pip").locate_file(f"pip-{pip.__version__}.dist-info")
        for part in (Path(pip.__file__).parent, Path(str(about))):
            shutil.copytree(part, library / "site-packages" / part.name, ignore=leave_out)
        for script in (local / "bin/pip", local / "bin/pip3", local / f"bin/pip{name.removeprefix('python')}"):
            main = "from pip._internal.cli.main import main\nraise SystemExit(main())\n"
            script.write_text(f"#!/usr/local/bin/{name}\n{main}")
            script.chmod(0o755)

    def _mounts(self) -> list[Mount]:
        found = [Mount("/usr", Path("/usr")), Mount("/usr/local", self.folder / "local", read_only=False)]
        found += [
            Mount(f"/{name}", Path("/") / name)
            for name in _MERGED
            if (Path("/") / name).is_dir() and not (Path("/") / name).is_symlink()
        ]
        if not self._libraries.is_relative_to("/usr"):
            found.append(Mount(str(self._libraries), self._libraries))  # for libpython
        return [*found, Mount("/etc/ssl", Path("/etc/ssl"))]

    def command(self, inside: str, *mounts: Mount, read_only: bool = False) -> list[str]:
        """The command line that runs a shell command in the root.

        Args:
            mounts: further mounts; their places are made in the folder.
            read_only: only mounts that allow it can be written to.
        """
        for mount in mounts:
            place = self.folder / mount.path.removeprefix("/")
            if mount.source is not None and mount.source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
        root = shlex.quote(str(self.folder))
        mode = "-o ro " if read_only else ""
        steps = [f"mount --bind {mode}{root} {root}"]
        for mount in self._mounts():
            # The image's own files are read-only like the rest.
            if mount.path == "/usr/local" and read_only:
                mount = Mount(mount.path, mount.source)  # noqa: PLW2901
            steps.append(mount.command(self.folder))
        steps += [f"mount --rbind /{name} {root}/{name}" for name in ("proc", "dev")]
        steps += [mount.command(self.folder) for mount in mounts]
        # The old root is mounted under the new one, and is then unmounted.
        steps += [f"cd {root}", "pivot_root . .", "umount -l .", f"exec {inside}"]
        return ["/usr/bin/unshare", *namespace_options(), "--mount", "--", "/bin/sh", "-euc", "\n".join(steps)]

    def run(self, command: str, environment: dict[str, str], folder: str) -> None:
        """Run a command of the build, with the machine's network and its settings for the package index.

        Raises:
            AssertionError: the command failed; the message has its output.
        """
        outside = {name: value for name, value in os.environ.items() if name.startswith(_FROM_THE_MACHINE)}
        variables = {**outside, "HOME": "/root", "PATH": PATH, **environment}
        words = ["/usr/bin/env", "-i", "-C", folder, *(f"{name}={value}" for name, value in variables.items())]
        line = self.command(shlex.join([*words, "/bin/sh", "-c", command]), *self._cache())
        ran = subprocess.run(line, env={"PATH": PATH}, capture_output=True, text=True, check=False)
        if ran.returncode:
            msg = f"RUN {command}\nended with {ran.returncode}:\n{ran.stdout[-1000:]}{ran.stderr[-2000:]}"
            raise AssertionError(msg)

    @staticmethod
    def _cache() -> list[Mount]:
        """The cache of pip, so that not every test run downloads the same files again."""
        cache = Path(os.environ.get("PIP_CACHE_DIR", Path.home() / ".cache/pip"))
        return [Mount("/root/.cache/pip", cache, read_only=False)] if cache.is_dir() else []

"""Run the tests in Debian 13, with its Python and its RabbitMQ: ``python -m devtools.debian13 [OPTION ...]``.

Options are those of :mod:`devtools.run_tests`. A copy of the sources is mounted into a root file system that is kept
for the next run in the user's cache folder, with a virtual environment of its own. The network is this machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devtools import pip_settings, root_file_system
from devtools.root_file_system import NAMESPACE, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provider-gateway/debian13"
#: Where the root file system has the sources, and the virtual environment.
SOURCES, VENV = "/src", "/venv"
#: Files whose content makes the virtual environment.
_INGREDIENTS = ("setup.py", "constraints.txt", "devtools/virtualenv.sh")
#: In the root file system: the ingredients of the virtual environment that is there.
_MARK = "venv.ingredients"
#: Folders of the cache besides the root file system: copies of the sources in use, and what pip has downloaded.
_KEPT = ("runs", "pip")
#: Files of this machine that its network needs: names, and certificates. Builds of the image read pip.conf.
_NETWORK = ("/etc/hosts", "/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
#: Variables that the tests read.
_OF_TESTS = ("CI", "FUZZ_SECONDS", "SOAK_MESSAGES", "SOAK_SECONDS", "SOAK_SEED")
#: Mounts what follows ``--`` up to ``--`` (pairs of source and target), then runs the rest.
_ENTER = """\
set -eu
root=$1 access=$2; shift 2
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root$(dirname "$2")"; [ -e "$root$2" ] || : >"$root$2"; fi
    mount --rbind "$1" "$root$2"
    shift 2
done
shift
mount -o "remount,bind,$access" "$root"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Inside:
    """Commands in the root file system; all that they mount and start ends with them.

    Args:
        root: the root file system.
        sources: folder that is mounted at :data:`SOURCES`.
        temporary: folder that is mounted at ``/tmp``.
    """

    root: Path
    sources: Path
    temporary: Path

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        writes: bool = False,
    ) -> int:
        """Run a command in the folder of the sources, as root; returns its exit status.

        Args:
            environment: its variables besides those of a login, and besides pip's settings, which are this machine's.
            writes: True if it may change the root file system.
        """
        mounts = {"/dev": "/dev", "/sys": "/sys", str(self.sources): SOURCES, str(self.temporary): "/tmp"}
        configuration = self.temporary / ".config/pip/pip.conf"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(pip_settings.configuration())
        settings = pip_settings.variables()
        mounts[str(CACHE / "pip")] = "/tmp/.cache/pip"
        named = pip_settings.paths_of(configuration.read_text(), *settings.values())
        mounts |= {path: path for path in (*_NETWORK, *named) if Path(path).exists()}
        login = {"PATH": f"{VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
        variables = [f"{name}={value}" for name, value in {**login, **settings, **(environment or {})}.items()]
        enter = ["sh", "-c", _ENTER, "sh", str(self.root), "rw" if writes else "ro"]
        pairs = [path for pair in mounts.items() for path in pair]
        inner = ["env", "-i", "-C", SOURCES, *variables, *command]
        process = subprocess.Popen([*NAMESPACE, *enter, *pairs, "--", *inner])
        try:
            return process.wait()
        finally:
            process.kill()  # its namespaces end with it, and all that runs in them
            process.wait()


def copy_sources(target: Path) -> None:
    """Copy the files that git has or would add.

    Raises:
        MissingError: this folder is no clone, or there is no git.
    """
    if not shutil.which("git"):
        msg = "git is missing. On Debian or Ubuntu, as root: apt-get install git"
        raise MissingError(msg)
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        msg = f"the sources are no clone that git can list: {told.stderr.strip()}"
        raise MissingError(msg)
    for name in filter(None, told.stdout.split("\0")):
        if (ROOT / name).is_file():  # not a file that is deleted and still in git
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[Inside]:
    """A root file system with a copy of the sources and an empty ``/tmp``, both for this block only."""
    _remove_left_over()
    with tempfile.TemporaryDirectory(
        prefix=f"{os.getpid()}-", dir=CACHE / "runs", ignore_cleanup_errors=True
    ) as folder:
        inside = Inside(root, Path(folder, "src"), Path(folder, "tmp"))
        inside.sources.mkdir()
        inside.temporary.mkdir()
        copy_sources(inside.sources)
        yield inside


def _remove_left_over() -> None:
    """Remove the folders of runs that were killed."""
    for each in (CACHE / "runs").iterdir():
        if not Path("/proc", each.name.partition("-")[0]).exists():
            shutil.rmtree(each, ignore_errors=True)


def _ingredients() -> str:
    digest = hashlib.sha256()
    for name in _INGREDIENTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _is_made(root: Path) -> bool:
    mark = root / _MARK
    return mark.exists() and mark.read_text() == _ingredients()


def _make(root: Path) -> None:
    """Make what is missing of the root file system and its virtual environment, while nobody uses any.

    Raises:
        MissingError: this machine cannot.
    """
    if not root.exists():
        for old in [each for each in CACHE.iterdir() if each.is_dir() and each.name not in _KEPT]:
            shutil.rmtree(old)
        root_file_system.make(root)
    (root / _MARK).unlink(missing_ok=True)
    shutil.rmtree(f"{root}{VENV}", ignore_errors=True)
    with _inside(root) as inside:
        command = ["sh", "devtools/virtualenv.sh", "python3", VENV, "dev"]
        if inside.run(command, writes=True):
            msg = "the virtual environment cannot be made; the lines above say why"
            raise MissingError(msg)
    (root / _MARK).write_text(_ingredients())


@contextlib.contextmanager
def _held(root: Path) -> Iterator[None]:
    """Make what is missing, and keep others from making it anew within the block."""
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not _is_made(root):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Waiting for another run in Debian 13: this one needs other packages", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_made(root):
                _make(root)
            fcntl.flock(lock, fcntl.LOCK_SH)  # another one may take the lock in between
        yield


def run_tests(options: Sequence[str]) -> int:
    """Run the tests in the root file system, which is made anew if its recipe has changed; returns the exit status.

    Args:
        options: of :mod:`devtools.run_tests`.

    Raises:
        MissingError: this machine cannot.
    """
    root_file_system.check_machine()
    for each in _KEPT:
        (CACHE / each).mkdir(parents=True, exist_ok=True)
    root = CACHE / root_file_system.recipe()
    environment = {name: os.environ[name] for name in _OF_TESTS if name in os.environ}
    with _held(root), _inside(root) as inside:
        command = [f"{VENV}/bin/python", "-m", "devtools.run_tests", *options]
        return inside.run(command, environment=environment)


def main() -> int:
    """Run the tests; returns the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run_tests(sys.argv[1:])
    except MissingError as error:
        print(f"The tests did not run in Debian 13: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

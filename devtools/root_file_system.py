"""A Debian root file system with the programs that the tests need, made by debootstrap and kept for the next run.

debootstrap takes the packages from where this machine's apt takes Debian's. It runs in a mount and a process namespace
of its own: however it ends, no mount and no process stays.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

#: Debian 13.
SUITE = "trixie"
#: The needs of the program and of the tests: broker, database, Python with what builds packages, C compiler, curl, ps.
PACKAGES = (
    *("ca-certificates", "curl", "gcc", "git", "iproute2", "libc6-dev", "make", "openssl", "procps"),
    *("pgbouncer", "postgresql", "python3", "python3-dev", "python3-venv", "rabbitmq-server"),
)
DEBOOTSTRAP = ("debootstrap", "--variant=minbase", "--force-check-gpg", f"--include={','.join(PACKAGES)}", SUITE)
#: Everything that is mounted or started in it ends with the command, and the command with the program that started it.
NAMESPACE = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"),
)
#: Lines of a failed command's output that are shown.
_LAST_LINES = 15


class MissingError(Exception):
    """What this machine lacks; one line that says what to do."""


def check_machine() -> None:
    """Make sure that a root file system can be made and used here; install debootstrap if it is missing.

    Raises:
        MissingError: it cannot.
    """
    if os.geteuid() != 0:
        msg = "only root can make a root file system. Run it as root: sudo make test-debian13"
        raise MissingError(msg)
    tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    if tried.returncode:
        msg = "mounting is not allowed here (a container?). Run it where root has CAP_SYS_ADMIN"
        raise MissingError(msg)
    script = Path(__file__).with_name("system.sh")
    if subprocess.run(["sh", script, "debootstrap", "debian-archive-keyring"], check=False).returncode:
        msg = "debootstrap and Debian's keys cannot be installed; the lines above say why"
        raise MissingError(msg)


def mirror() -> str:
    """The address from which apt takes Debian's packages; ``DEBIAN_MIRROR`` in the environment wins.

    Raises:
        MissingError: apt has none, for instance on Ubuntu.
    """
    chosen = os.environ.get("DEBIAN_MIRROR")
    if chosen:
        return chosen
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    for is_retry in (False, True):
        if is_retry:  # apt knows labels only after an update
            subprocess.run(["apt-get", "update"], capture_output=True, check=False)
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        if told:
            return told[0]
    msg = "apt knows no Debian mirror here. Name one: DEBIAN_MIRROR=<address> make test-debian13"
    raise MissingError(msg)


def proxies() -> dict[str, str]:
    """The proxies of apt, as the variables that debootstrap's wget reads."""
    names = ("Acquire::http::Proxy", "Acquire::https::Proxy")
    asked = ["apt-config", "shell", "http_proxy", names[0], "https_proxy", names[1]]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    pairs = (each.partition("=") for each in shlex.split(told))
    return {name: value for name, _, value in pairs if value and value != "DIRECT"}


def recipe() -> str:
    """A text that differs when another root file system would be made."""
    return hashlib.sha256(repr(DEBOOTSTRAP).encode()).hexdigest()[:12]


def make(folder: Path) -> None:
    """Make the root file system, about a minute.

    Args:
        folder: is there only if making it succeeded.

    Raises:
        MissingError: debootstrap failed, for instance without network; the text has the end of its output.
    """
    address = mirror()
    print(f"Making a root file system of Debian 13 in {folder} (about a minute, about 800 MB)", flush=True)
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    command = [*NAMESPACE, *DEBOOTSTRAP, str(unfinished), address]
    # RUNLEVEL=1 keeps the packages from starting a broker and a database.
    environment = {**proxies(), **os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ran.returncode:
        print("\n".join(ran.stdout.splitlines()[-_LAST_LINES:]))
        msg = f"debootstrap failed with the mirror {address}: no network, or see the lines above"
        raise MissingError(msg)
    for archive in (unfinished / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    unfinished.rename(folder)

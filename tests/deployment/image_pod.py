"""A pod without Kubernetes: its own network, in which the image's command runs as an orchestrator would run it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.deployment.image_root import IS_ROOT, PATH, Mount, namespace_options
from tests.support.processes import Gateway, Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.trial.unittest import TestCase

    from tests.deployment.image_build import Image

#: The group of all pods on OpenShift, and a user id from a project's range.
GROUP, USER = 0, 1_000_670_042
#: Makes the following command the first process of a new process namespace.
FIRST_PROCESS = ("/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--")
#: Switches loopback on (SIOCSIFFLAGS: IFF_UP, IFF_RUNNING), and keeps the namespace until standard input ends.
_HOLD = """
import fcntl, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))
print("up", flush=True)
sys.stdin.read()
"""


class Contained(Gateway):
    """A command that is the first process of its own namespace: when it ends, the whole namespace ends."""

    @property
    def first_process(self) -> int:
        """Its process id on this machine."""
        assert self.transport is not None
        pid = int(self.transport.pid)
        while _status(pid)["NSpid"][-1] != "1":
            (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return pid

    @property
    def status(self) -> dict[str, list[str]]:
        """The fields of its ``/proc/<pid>/status``."""
        return _status(self.first_process)

    def signal(self, name: str) -> None:
        """Send a signal to the command itself: the processes around it ignore some signals."""
        try:
            pid = self.first_process
        except (OSError, ValueError):
            super().signal(name)  # the command has not started yet
        else:
            os.kill(pid, getattr(signal, f"SIG{name}"))


def _status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


class Pod:
    """The network. It has only loopback, so every port is free and every host is this one."""

    def __init__(self, holder: Process) -> None:
        self._holder = holder

    @classmethod
    async def start(cls, test: TestCase) -> Pod:
        """Make a pod, which ends with the test.

        Raises:
            AssertionError: this machine does not allow namespaces; the message says what is needed.
        """
        command = ["/usr/bin/unshare", *namespace_options(), "--net", "--", sys.executable, "-c", _HOLD]
        holder: Process = Process.start(test, command, {})
        try:
            await holder.when(lambda: "up" in holder.lines)
        except AssertionError as error:
            msg = f"the image is run in namespaces of its own: be root, or allow user namespaces ({error})"
            raise AssertionError(msg) from None
        return cls(holder)

    def _command(self, *words: str) -> list[str]:
        assert self._holder.transport is not None
        user = [] if IS_ROOT else ["--user", "--preserve-credentials"]
        return ["/usr/bin/nsenter", "--target", str(self._holder.transport.pid), *user, "--net", "--", *words]

    def start_contained(self, test: TestCase, *words: str) -> Contained:
        """Start a command in this network; the command makes its own process namespaces."""
        started: Contained = Contained.start(test, self._command(*words), {"PATH": PATH})
        return started

    async def curl(self, test: TestCase, *arguments: str, folder: Path | None = None) -> tuple[int, str, str]:
        """Run real curl in this network; returns exit status, output and errors."""
        process: Process = Process.start(test, self._command("curl", "-sS", *arguments), {"PATH": PATH}, folder)
        ended = await process.when_ended()
        return ended, "\n".join(process.lines), process.errors


class Container:
    """One container of the image in a pod.

    Args:
        image: the image to run.
        pod: the pod in whose network it runs.
    """

    def __init__(self, image: Image, pod: Pod) -> None:
        self._image = image
        self._pod = pod

    def start(
        self,
        test: TestCase,
        arguments: Sequence[str],
        environment: dict[str, str],
        mounts: Sequence[Mount],
        command: Sequence[str] | None = None,
    ) -> Contained:
        """Start the container: read-only, as first process, as a user of group 0 without name, home or capabilities.

        Args:
            command: replaces the image's entry point.
        """
        image = self._image
        variables = {**image.environment, **environment}
        words = ["/usr/bin/env", "-i", "-C", image.folder, *(f"{name}={value}" for name, value in variables.items())]
        # The entry point is searched in the image's PATH.
        words += [*_without_rights(), *(command or image.entrypoint), *arguments]
        line = image.root.command(shlex.join([*FIRST_PROCESS, *words]), *mounts, read_only=True)
        return self._pod.start_contained(test, *line)


def _without_rights() -> list[str]:
    if IS_ROOT:
        drop = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        return ["/usr/bin/setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", *drop]
    return ["/usr/bin/unshare", "--user", f"--map-user={USER}", f"--map-group={GROUP}", "--"]


def hosts(*names: str) -> str:
    """An ``/etc/hosts`` in which all these names are this machine."""
    return f"127.0.0.1 {' '.join(['localhost', *sorted(set(names))])}\n"

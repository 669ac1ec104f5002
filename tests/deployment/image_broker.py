"""RabbitMQ in a pod, with the config map's files where its container has them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from devtools.rabbitmq import find_server
from tests.deployment.image_pod import FIRST_PROCESS
from tests.deployment.image_root import PATH, Root
from tests.deployment.image_workload import Workload, config_maps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from twisted.trial.unittest import TestCase

    from tests.deployment.image_pod import Contained, Pod
    from tests.deployment.image_workload import Files

CONFIG_MAP = "rabbitmq-config"
#: Lines that are left out: they need a cluster for peer discovery, or RabbitMQ 3.13, newer than Debian 12's.
_LEFT_OUT = ("cluster_formation.", "default_queue_type", "quorum_queue.continuous_membership_reconciliation.")


def _without(lines: Iterable[str]) -> str:
    return "\n".join(line for line in lines if not line.strip().startswith(_LEFT_OUT)) + "\n"


def configuration() -> dict[str, Files]:
    """The broker's config map, without the lines that only a cluster or a newer RabbitMQ understands."""
    files = dict(config_maps()[CONFIG_MAP])
    files["rabbitmq.conf"] = _without(files["rabbitmq.conf"].decode().splitlines()).encode()
    files["enabled_plugins"] = files["enabled_plugins"].replace(b"rabbitmq_peer_discovery_k8s,", b"")
    return {CONFIG_MAP: files}


async def start(test: TestCase, pod: Pod, manifest: dict[str, Any], certificates: Files, work: Path) -> Contained:
    """Start the node and wait until it accepts connections; it ends with the test, and so do its child processes.

    Args:
        manifest: the stateful set.
        certificates: contents of its secret.
        work: folder for its root file system; must not exist.
    """
    workload = Workload(manifest, {"rabbitmq-tls": certificates}, configuration())
    root = Root(work, has_python=False)
    (root.folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    # On the cluster its name is the pod's, which only the cluster's DNS knows.
    variables = {"HOME": "/var/lib/rabbitmq", "PATH": PATH, "RABBITMQ_NODENAME": "rabbit@localhost", "TERM": "dumb"}
    words = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items()), str(find_server())]
    node = pod.start_contained(
        test, *root.command(shlex.join([*FIRST_PROCESS, *words]), *workload.mounts(), read_only=True)
    )
    await node.when(lambda: any("completed with" in line for line in node.lines))
    return node

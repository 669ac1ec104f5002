"""A RabbitMQ node with the files of openshift/rabbitmq/config-map.yaml, on loopback: settings, plugins and rights."""

from __future__ import annotations

import subprocess
from pathlib import Path  # noqa: TC003 - in the signature of the constructor
from typing import Any

import yaml

from devtools.ports import free_ports
from devtools.rabbitmq import RabbitMQ, find_server
from tests.support.folders import ROOT

#: The lines of rabbitmq.conf that this node cannot have, and why. It has all the others.
LEFT_OUT = {
    "cluster_formation.peer_discovery_backend = k8s": "there is no cluster to ask for peers",
}
#: Lines that RabbitMQ does not know before the version; later ones get them.
SINCE = {
    "default_queue_type = quorum": (3, 13),
    "quorum_queue.continuous_membership_reconciliation.enabled = true": (3, 13),
    "quorum_queue.continuous_membership_reconciliation.target_group_size = 3": (3, 13),
}
#: Files of the pod's secret, and what they are called here.
_CERTIFICATES = {"ca.crt": "cacert.pem", "tls.crt": "broker_cert.pem", "tls.key": "broker_key.pem"}


def shipped_files() -> dict[str, str]:
    """The files of the config map, by name."""
    (document,) = yaml.safe_load_all((ROOT / "openshift/rabbitmq/config-map.yaml").read_text(encoding="utf-8"))
    data: dict[str, str] = document["data"]
    return data


class ShippedBroker(RabbitMQ):
    """The node: TLS only, certificates as logins, the shipped users and rights.

    Its files differ from the cluster's in :data:`LEFT_OUT`, in paths and in ports.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        super().__init__(folder, certificates)
        self.metrics_port, self.management_port = free_ports(2)

    def configure(self) -> None:
        """Write the files of the config map."""
        super().configure()
        for name, text in shipped_files().items():
            (self.folder / name).write_text(self.adapted(text))

    def adapted(self, text: str) -> str:
        """One of the files, for this machine."""
        version = self.version()
        missing = {*LEFT_OUT, *(line for line, since in SINCE.items() if version < since)}
        content = "".join(f"{line}\n" for line in text.splitlines() if line not in missing)
        for key, file in _CERTIFICATES.items():
            content = content.replace(f"/certs/rabbitmq/{key}", str(self._certificates / file))
        content = content.replace("/etc/rabbitmq/", f"{self.folder}/")
        for port, here in ((5671, self.tls_port), (15671, self.management_port), (15692, self.metrics_port)):
            content = content.replace(f"= {port}\n", f"= {here}\n")
        return content

    def version(self) -> tuple[int, ...]:
        """The version that is installed, such as ``(3, 10, 8)``."""
        return tuple(int(part) for part in self.run(["rabbitmqctl", "version"]).stdout.split(".")[:2])

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run one of RabbitMQ's commands on the node, as the orchestrator does."""
        program: Any = find_server().with_name(command[0])
        return subprocess.run(
            [program, *command[1:]], env=self._environment, capture_output=True, text=True, check=False
        )

"""A RabbitMQ node with the configuration of openshift/rabbitmq/config-map.yaml, on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path  # noqa: TC003 - in the signature of the constructor

from devtools.ports import free_ports
from devtools.rabbitmq import RabbitMQ, find_server
from tests.deployment.manifests import ROOT, documents

#: Settings that Debian's RabbitMQ 3.10 does not know yet, or that need a cluster.
_NOT_HERE = ("default_queue_type", "quorum_queue.", "cluster_formation.")


class ConfiguredBroker(RabbitMQ):
    """The node. Only its files and ports differ from the cluster's, to fit this machine."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        super().__init__(folder, certificates)
        self.metrics_port, self.management_port = free_ports(2)

    def configure(self) -> None:
        """Write the files of the config map."""
        super().configure()
        data = documents(ROOT / "rabbitmq/config-map.yaml")[0]["data"]
        certificates = {"ca.crt": "cacert.pem", "tls.crt": "broker_cert.pem", "tls.key": "broker_key.pem"}
        for name, text in data.items():
            lines = [line for line in text.splitlines() if not line.startswith(_NOT_HERE)]
            content = "\n".join(lines) + "\n"
            for key, file in certificates.items():
                content = content.replace(f"/certs/rabbitmq/{key}", str(self._certificates / file))
            content = content.replace("/etc/rabbitmq/", f"{self.folder}/").replace(",rabbitmq_peer_discovery_k8s", "")
            for port, here in ((5671, self.tls_port), (15671, self.management_port), (15692, self.metrics_port)):
                content = content.replace(f"= {port}\n", f"= {here}\n")
            (self.folder / name).write_text(content)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run one of RabbitMQ's commands on the node, as the orchestrator does."""
        program = find_server().with_name(command[0])
        return subprocess.run(
            [program, *command[1:]], env=self._environment, capture_output=True, text=True, check=False
        )

"""Base class of tests that run the image: the templates' pods, with certificates, a model and a broker."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.demo.certificates import make_certificates
from tests.deployment import image_broker
from tests.deployment.image_build import image
from tests.deployment.image_pod import Container, Pod, hosts
from tests.deployment.image_root import Mount
from tests.deployment.image_workload import OPENSHIFT, Workload, processed
from tests.support.folders import folder

if TYPE_CHECKING:
    from tests.deployment.image_pod import Contained
    from tests.deployment.image_workload import Files


#: The seed's curl options, without the URL.
CALL = (
    *("-k", "--key", "client_key.pem", "--cert", "client_cert.pem", "-d", '{"data": "[29, 29]"}'),
    *("-H", "RqUID: 52-52-52-52", "-H", "Content-Type: application/json", "-H", "routing-key: predict.now"),
)


@cache
def certificates() -> Path:
    """A folder with all example certificates, for the host names that the templates use."""
    made = folder() / "image-certificates"
    make_certificates(made, names=(route_host(),))
    return made


def route_host() -> str:
    """The host name in the callers' URL."""
    return str(processed("template-single.yaml", "Route")["spec"]["host"])


def secret(cert: str, key: str) -> Files:
    """A secret of type kubernetes.io/tls with one of the example certificates, and the CA's."""
    found = certificates()
    return {
        "ca.crt": (found / "cacert.pem").read_bytes(),
        "tls.crt": (found / cert).read_bytes(),
        "tls.key": (found / key).read_bytes(),
    }


class ImageTestCase(TestCase):
    """``self.workload`` is the container of template-single.yaml, ``self.model`` that of template-model.yaml."""

    timeout = 120

    async def setUp(self) -> None:
        self.image = await deferToThread(image)
        self.pod = await Pod.start(self)
        self.container = Container(self.image, self.pod)
        secrets = {
            "provider-gateway-mq": secret("client_cert_mq.pem", "client_key_mq.pem"),
            "provider-gateway-https": secret("server_cert.pem", "server_key.pem"),
        }
        self.workload = Workload(processed("template-single.yaml", "Deployment"), secrets)
        self.model = Workload(processed("template-model.yaml", "Deployment"), {})

    def start(self, workload: Workload, *command: str) -> Contained:
        """Start a container as its template says. In its network, every host name is this pod.

        Args:
            command: runs in place of the container's, as ``oc exec`` runs one beside it.
        """
        environment = workload.environment
        named = [urlsplit(value).hostname or "" for value in environment.values() if "://" in value]
        table = Path(self.mktemp())
        table.write_text(hosts(*filter(None, [*named, environment.get("MODEL_HOST")])))
        mounts = [Mount("/etc/hosts", table.resolve()), *workload.mounts()]
        arguments, first = ((), command) if command else (workload.arguments, workload.command)
        return self.container.start(self, arguments, environment, mounts, first)

    async def probe(self, workload: Workload, name: str) -> int:
        """The HTTP status that the kubelet gets from a probe of a container."""
        asked = workload.container[name]["httpGet"]
        url = f"http://localhost:{workload.port(asked['port'])}{asked['path']}"
        _, output, _ = await self.pod.curl(self, "-o", "/dev/null", "-w", "%{http_code}\n", url)
        return int(output)

    async def end(self, started: Contained) -> int:
        """Send SIGTERM to the first process of a container, as the kubelet does, and return its exit status."""
        started.signal("TERM")
        return await started.when_ended()

    async def start_broker(self) -> Any:
        manifest = yaml.safe_load((OPENSHIFT / "rabbitmq/stateful-set.yaml").read_text(encoding="utf-8"))
        work = folder() / "image-broker"
        return await image_broker.start(self, self.pod, manifest, secret("broker_cert.pem", "broker_key.pem"), work)

"""The cert-manager examples issue the secrets that pods mount, from two CAs that do not trust each other's clients."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.demo.certificates import CLIENTS, SERVERS
from tests.deployment.components import SECRETS, SERVICES
from tests.deployment.kustomize import build
from tests.deployment.manifests import ROOT, parameters

#: Secret: issuer, common name, purposes, host names.
CERTIFICATES = {
    "provider-gateway-https": ("callers", "provider-gateway", "server auth", ["provider-gateway", "gateway"]),
    "provider-gateway-mq": ("broker", "provider-gateway", "client auth", []),
    "rabbitmq-tls": ("broker", "rabbitmq", "server auth", ["rabbitmq", "localhost"]),
    "initiator-mq": ("broker", "initiator", "client auth", []),
    "caller": ("callers", "initiator", "client auth", []),
}


class CertificateTests(SynchronousTestCase):
    """openshift/cert-manager/."""

    def setUp(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {
            (each["kind"], each["metadata"]["name"]): each for each in build(ROOT / "cert-manager")
        }

    def test_certificates(self) -> None:
        """Each secret has the names and the purpose that its program needs, from the CA that its peers trust."""
        found = {
            name: each["spec"]
            for (kind, name), each in self.objects.items()
            if kind == "Certificate" and "-ca-" not in name
        }
        self.assertEqual(found.keys(), CERTIFICATES.keys())
        for name, spec in found.items():
            issuer, common_name, purpose, hosts = CERTIFICATES[name]
            route = [parameters()["ROUTE_HOST"]] if name == "provider-gateway-https" else []
            self.assertEqual(spec["secretName"], name)
            self.assertEqual(spec["commonName"], common_name)
            self.assertEqual(spec["usages"], ["digital signature", purpose])
            self.assertEqual(spec.get("dnsNames", []), route + hosts)
            self.assertEqual(spec["issuerRef"], {"name": f"provider-gateway-{issuer}", "kind": "Issuer"})
            key = {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"}
            self.assertEqual(spec["privateKey"], key)
            self.assertEqual((spec["duration"], spec["renewBefore"]), ("2160h", "720h"))

    def test_every_secret_of_the_pods_is_issued(self) -> None:
        """cert-manager makes every secret that the pods need, except the cookie, those of models, and addresses."""
        others = {name for name in SECRETS if name.startswith("provider-gateway-model")}
        others |= {"rabbitmq-erlang-cookie", "provider-gateway-results", "provider-gateway-broker"}
        needed = SECRETS.keys() - others
        self.assertLessEqual(needed, CERTIFICATES.keys())

    def test_authorities(self) -> None:
        """Each issuer signs with the CA of its name, which the self-signed issuer has signed."""
        for name in ("callers", "broker"):
            issuer = self.objects["Issuer", f"provider-gateway-{name}"]
            spec = self.objects["Certificate", f"provider-gateway-ca-{name}"]["spec"]
            self.assertEqual(issuer["spec"], {"ca": {"secretName": f"provider-gateway-ca-{name}"}})
            self.assertEqual(spec["secretName"], f"provider-gateway-ca-{name}")
            self.assertIs(spec["isCA"], True)
            self.assertEqual(spec["commonName"], f"provider-gateway {name}")
            self.assertEqual(spec["issuerRef"], {"name": "provider-gateway-self-signed", "kind": "Issuer"})
            # With a new key, certificates signed with the old one would no longer be trusted.
            self.assertEqual(spec["privateKey"], {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"})
            self.assertEqual(spec["duration"], "43800h")
        self.assertEqual(self.objects["Issuer", "provider-gateway-self-signed"]["spec"], {"selfSigned": {}})
        kinds = [kind for kind, _ in self.objects]
        self.assertEqual((kinds.count("Issuer"), kinds.count("Certificate")), (3, 7))

    def test_names_agree_with_the_examples(self) -> None:
        """The common names are those of the example certificates, so both ways of making them work."""
        names = {holder.common_name for holder in (*CLIENTS, *SERVERS)}
        self.assertLessEqual({each[1] for each in CERTIFICATES.values()}, names)

    def test_hosts_are_services(self) -> None:
        """Host names are those of services, the route's host and localhost."""
        for _, _, _, hosts in CERTIFICATES.values():
            self.assertLessEqual(set(hosts), SERVICES.keys() | {"localhost"})

"""RabbitMQ's configuration admits only its intended users, and gives them only the rights that they need."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import parse_queues
from provider_gateway.demo.certificates import CLIENTS
from provider_gateway.topology.declarations import Binding, Exchange, objects_of
from provider_gateway.topology.reply_addresses import reply_prefix
from provider_gateway.topology.webhook_queues import WebhookQueues
from tests.deployment.components import PORTS, SECRETS
from tests.deployment.kustomize import apply_patch
from tests.deployment.manifests import ROOT, documents, environment, pod
from tests.deployment.quantities import quantity

PLUGINS = "rabbitmq_auth_mechanism_ssl,rabbitmq_management,rabbitmq_peer_discovery_k8s,rabbitmq_prometheus"
#: Lines that rabbitmq.conf has to contain; its comments say why.
CONF = {
    "listeners.tcp": "none",
    "listeners.ssl.default": "5671",
    "ssl_options.cacertfile": "/certs/rabbitmq/ca.crt",
    "ssl_options.certfile": "/certs/rabbitmq/tls.crt",
    "ssl_options.keyfile": "/certs/rabbitmq/tls.key",
    "ssl_options.verify": "verify_peer",
    "ssl_options.fail_if_no_peer_cert": "true",
    "ssl_options.versions.1": "tlsv1.3",
    "ssl_options.versions.2": "tlsv1.2",
    "auth_mechanisms.1": "EXTERNAL",
    "ssl_cert_login_from": "common_name",
    "load_definitions": "/etc/rabbitmq/definitions.json",
    "cluster_name": "provider-gateway",
    "cluster_formation.peer_discovery_backend": "k8s",
    "default_queue_type": "quorum",
    "quorum_queue.continuous_membership_reconciliation.enabled": "true",
    "quorum_queue.continuous_membership_reconciliation.target_group_size": "3",
    "queue_leader_locator": "balanced",
    "vm_memory_high_watermark.absolute": "1200MB",
    "disk_free_limit.absolute": "2GB",
    "management.ssl.port": "15671",
    "management.ssl.certfile": "/certs/rabbitmq/tls.crt",
    "management.ssl.keyfile": "/certs/rabbitmq/tls.key",
    "prometheus.tcp.port": "15692",
    "prometheus.return_per_object_metrics": "true",
    "log.console": "true",
    "log.console.level": "info",
    "log.file": "false",
}


def read_conf(text: str) -> dict[str, str]:
    """The settings of a rabbitmq.conf, by key."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [re.fullmatch(r"([\w.]+) = (\S+)", line) for line in lines if line]
    pairs = [(each[1], each[2]) for each in found if each is not None]
    assert len(dict(pairs)) == len(found), "a line that is no setting, or a key twice"
    return dict(pairs)


class BrokerSettingsTests(SynchronousTestCase):
    """openshift/rabbitmq/."""

    def setUp(self) -> None:
        self.data = documents(ROOT / "rabbitmq/config-map.yaml")[0]["data"]
        self.workload = documents(ROOT / "rabbitmq/stateful-set.yaml")[0]
        self.container = pod(self.workload)["spec"]["containers"][0]
        self.definitions = json.loads(self.data["definitions.json"])
        queues = documents(ROOT / "common/queue-file.yaml")[0]["data"]["queue_config.yaml"]
        self.entries = parse_queues(queues, "the queue file")

    def test_files(self) -> None:
        """The config map has the files that the configuration and the image look for in /etc/rabbitmq."""
        self.assertEqual(self.data.keys(), {"rabbitmq.conf", "enabled_plugins", "definitions.json"})
        self.assertEqual(self.mounts()["config"], "/etc/rabbitmq")
        self.assertEqual(self.data["enabled_plugins"], f"[{PLUGINS}].\n")

    def mounts(self) -> dict[str, str]:
        """The path of each volume in the broker's container."""
        return {each["name"]: each["mountPath"] for each in self.container["volumeMounts"]}

    def test_conf(self) -> None:
        """TLS only, with client certificates as login; and the other chosen settings."""
        self.assertEqual(read_conf(self.data["rabbitmq.conf"]), CONF)

    def test_ports(self) -> None:
        """The ports of the configuration are those of the container."""
        ports = PORTS["rabbitmq"]
        found = [int(CONF[key]) for key in ("listeners.ssl.default", "management.ssl.port", "prometheus.tcp.port")]
        self.assertEqual(found, [ports["amqps"], ports["management"], ports["prometheus"]])

    def test_certificates_are_mounted(self) -> None:
        """The certificate files are keys of the secret that is mounted there."""
        (volume,) = (each for each in pod(self.workload)["spec"]["volumes"] if each["name"] == "certs")
        self.assertEqual(volume["secret"]["secretName"], "rabbitmq-tls")
        there = {f"{self.mounts()['certs']}/{key}" for key in SECRETS["rabbitmq-tls"]}
        self.assertLessEqual({value for key, value in CONF.items() if "file" in key and "/certs/" in value}, there)

    def test_places_that_are_written(self) -> None:
        """Data is on the claim, in RabbitMQ's own folder; home, logs and temporary files may be lost."""
        sources = {each["name"]: each for each in pod(self.workload)["spec"]["volumes"]}
        self.assertEqual(self.mounts()["data"], "/var/lib/rabbitmq/mnesia")
        self.assertEqual(self.workload["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data")
        for name, path in (("home", "/var/lib/rabbitmq"), ("log", "/var/log/rabbitmq"), ("tmp", "/tmp")):
            self.assertEqual(self.mounts()[name], path)
            self.assertEqual(sources[name]["emptyDir"], {})

    def test_cookie(self) -> None:
        """The broker's own image copies the cookie from its secret to Erlang's place, readable by its owner only."""
        (copy,) = pod(self.workload)["spec"]["initContainers"]
        self.assertEqual(copy["image"], self.container["image"])
        mounts = {each["name"]: each["mountPath"] for each in copy["volumeMounts"]}
        self.assertEqual(mounts, {"home": "/var/lib/rabbitmq", "cookie": "/cookie"})
        (volume,) = (each for each in pod(self.workload)["spec"]["volumes"] if each["name"] == "cookie")
        self.assertEqual(volume["secret"]["secretName"], "rabbitmq-erlang-cookie")
        script = "umask 077 && cp /cookie/cookie /var/lib/rabbitmq/.erlang.cookie"
        self.assertEqual(copy["command"], ["sh", "-c", script])
        self.assertEqual(SECRETS["rabbitmq-erlang-cookie"], {"cookie"})

    def test_names_of_nodes(self) -> None:
        """Nodes have long names, made of the names of pod and project."""
        given = {each["name"]: each for each in self.container["env"]}
        self.assertEqual(given["RABBITMQ_USE_LONGNAME"]["value"], "true")
        for name, field in (("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")):
            self.assertEqual(given[name]["valueFrom"], {"fieldRef": {"fieldPath": field}})
        order = list(given)
        self.assertGreater(order.index("RABBITMQ_NODENAME"), order.index("POD_NAMESPACE"))
        self.assertEqual(given.keys(), {"POD_NAME", "POD_NAMESPACE", "RABBITMQ_USE_LONGNAME", "RABBITMQ_NODENAME"})

    def test_limits(self) -> None:
        """Publishers are blocked before the container's memory or the claim is full."""
        limit = quantity(self.container["resources"]["limits"]["memory"])
        self.assertLess(quantity(CONF["vm_memory_high_watermark.absolute"].removesuffix("B")), 0.7 * limit)
        claim = quantity(
            documents(ROOT / "rabbitmq/persistent-volume-claim.yaml")[0]["spec"]["resources"]["requests"]["storage"]
        )
        self.assertLess(quantity(CONF["disk_free_limit.absolute"].removesuffix("B")), claim / 2)

    def test_version(self) -> None:
        """Both containers use the same image, of a series that finds its peers without the cluster's API."""
        found = re.fullmatch(r"docker\.io/library/rabbitmq:(\d+)\.(\d+)-management", self.container["image"])
        assert found is not None
        self.assertGreaterEqual((int(found[1]), int(found[2])), (4, 1))

    def test_users(self) -> None:
        """Users are the common names of the client certificates; no user has a password or a tag."""
        users = {each["name"]: each for each in self.definitions["users"]}
        self.assertEqual(users.keys(), {holder.common_name for holder in CLIENTS})
        for each in users.values():
            self.assertEqual((each["password_hash"], each["tags"]), ("", ""))
        self.assertEqual({each["user"] for each in self.definitions["permissions"]}, set(users))
        self.assertEqual(self.definitions["vhosts"], [{"name": "/"}])
        self.assertEqual({each["vhost"] for each in self.definitions["permissions"]}, {"/"})

    def may(self, user: str, right: str, name: str) -> bool:
        """True if a user has a right on an object. RabbitMQ searches, so the expression itself has to be anchored."""
        (permission,) = (each for each in self.definitions["permissions"] if each["user"] == user)
        return re.search(permission[right], name) is not None

    def needed(self) -> dict[str, set[str]]:
        """Names that provider-gateway needs for the queue file, by right (RabbitMQ's guide, "Access Control")."""
        configure: set[str] = set()
        write, read = {"amq.default"}, set()
        for each in (declared for entry in self.entries for declared in objects_of(entry)):
            if isinstance(each, Binding):
                write.add(each.queue)
                read.add(each.exchange)
            else:
                configure.add(each.name)
                (write if isinstance(each, Exchange) else read).add(each.name)
        webhooks = WebhookQueues.of(self.entries)
        configure |= {each.name for each in webhooks.objects()}
        read |= {each.name for each in webhooks.objects()}
        for parking in (*(entry.parking for entry in self.entries), webhooks.parking.name):
            # Who looks at a parking queue notes it in a queue of its own, through the default exchange.
            configure.add(f"{parking}.operator")
            read.add(f"{parking}.operator")
        replies = f"{reply_prefix(self.entries)}.provider-gateway-7d4b9c-x2x9l-0a1b2c3d"
        return {"configure": configure | {replies}, "write": write, "read": read | {replies}}

    def test_rights_are_enough(self) -> None:
        """Our user may declare and use all of the queue file, replies and webhooks, and look at parked ones."""
        for right, names in self.needed().items():
            for name in names:
                self.assertTrue(self.may("provider-gateway", right, name), f"{right} {name}")

    def test_rights_are_no_more(self) -> None:
        """Our user has no rights on other names, not even on similar ones."""
        near = {
            near for name in self.needed()["configure"] for near in (f"x{name}", f"{name}x") if "response." not in name
        }
        others = near | {
            "",
            "x",
            "ML-MQ",
            "fib.",
            "fib.other",
            "fib.operator",
            "fib.retry.operator",
            "fib.parking.other",
            "fib.parking.operator.x",
            "fibxretry",
            "amq.topic",
            "amq.gen-1",
            "responses",
            "response.",
        }
        for right in ("configure", "write", "read"):
            for name in others:
                self.assertFalse(self.may("provider-gateway", right, name), f"{right} {name}")
        self.assertFalse(self.may("provider-gateway", "configure", "amq.default"))
        self.assertFalse(self.may("provider-gateway", "read", "amq.default"))

    def test_rights_of_an_initiator(self) -> None:
        """An initiator may publish to the exchange, read its replies, and have queues that the broker names."""
        allowed = {
            "configure": {"amq.gen-1"},
            "write": {"ML.MQ", "amq.gen-1"},
            "read": {"response", "amq.gen-1"},
        }
        tried = (
            set().union(*allowed.values())
            | self.needed()["configure"]
            | {"amq.default", "fib.parking", "xML.MQ", "ML-MQ"}
        )
        for right, names in allowed.items():
            self.assertEqual({name for name in tried if self.may("initiator", right, name)}, names, right)

    def test_queue_file(self) -> None:
        """The queue file serves the request of docs/openshift.md, with a quorum queue, retry and parking."""
        (entry,) = self.entries
        self.assertEqual((entry.exchange, entry.queue_name, entry.binding_key), ("ML.MQ", "fib", ("predict.*",)))
        self.assertEqual(
            (entry.queue_type, entry.reply_to, entry.dle, entry.prefetch), ("quorum", "response", True, 20)
        )

    def test_before_4_1(self) -> None:
        """The patch for older brokers gives them token, service and names; the role has the rights that they need."""
        patch = documents(ROOT / "rabbitmq/before-4.1.yaml")[0]
        apply_patch(self.workload, patch)
        spec: dict[str, Any] = pod(self.workload)["spec"]
        self.assertIs(spec["automountServiceAccountToken"], True)
        service = documents(ROOT / "rabbitmq/service-headless.yaml")[0]["metadata"]["name"]
        given = environment(spec["containers"][0])
        self.assertEqual(given["K8S_SERVICE_NAME"], service)
        self.assertEqual(given["K8S_ADDRESS_TYPE"], "hostname")
        self.assertTrue(given["RABBITMQ_NODENAME"].endswith(f"$(POD_NAME){given['K8S_HOSTNAME_SUFFIX']}"))
        role = documents(ROOT / "rabbitmq/role.yaml")[0]
        endpoints = {"apiGroups": [""], "resources": ["endpoints"], "resourceNames": [service], "verbs": ["get"]}
        self.assertEqual(role["rules"], [endpoints, {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}])
        binding = documents(ROOT / "rabbitmq/role-binding.yaml")[0]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]}
        self.assertEqual(binding["roleRef"], reference)
        account = {"kind": "ServiceAccount", "name": spec["serviceAccountName"]}
        self.assertEqual(binding["subjects"], [account])

    def test_network_before_4_1(self) -> None:
        """Only older brokers can reach the cluster's API."""
        policy = documents(ROOT / "rabbitmq/network-policy-before-4.1.yaml")[0]["spec"]
        self.assertEqual(policy["podSelector"], self.workload["spec"]["selector"])
        self.assertEqual(policy["policyTypes"], ["Egress"])
        ports = [{"protocol": "TCP", "port": port} for port in (443, 6443)]
        self.assertEqual(policy["egress"], [{"ports": ports}])

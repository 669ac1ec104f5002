"""The connections that network policies allow between two pods."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from tests.deployment.components import PORTS
from tests.deployment.manifests import World, component_of, pod

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = {"kubernetes.io/metadata.name": "provider-gateway"}
PORTS_TRIED = sorted({port for ports in PORTS.values() for port in ports.values()} | {53, 443, 5353, 5672, 24224})


@dataclass(frozen=True)
class Peer:
    """A pod, ours or another, with its labels and those of its project; or an address outside of the cluster."""

    name: str
    labels: tuple[tuple[str, str], ...]
    project: tuple[tuple[str, str], ...] = tuple(PROJECT.items())
    #: Outside of the cluster; a pod's addresses do not count.
    address: str = ""


def _outside(name: str, **labels: str) -> Peer:
    project = {"kubernetes.io/metadata.name": name} | {key.replace("__", "/"): each for key, each in labels.items()}
    return Peer(name, (("app", name),), tuple(project.items()))


OUTSIDE = (
    Peer("a program of the project", (("app", "x"),)),
    Peer("an initiator", (("rabbitmq-client", "true"),)),
    Peer("no initiator", (("rabbitmq-client", "false"),)),
    Peer("the router", (), (("policy-group.network.openshift.io/ingress", ""),)),
    _outside("openshift-monitoring"),
    _outside("openshift-user-workload-monitoring"),
    _outside("monitoring"),
    _outside("openshift-dns"),
    _outside("kube-system"),
    _outside("somewhere"),
)
#: Policies that apply to all our pods.
EVERY_POD = ("provider-gateway-default-deny", "provider-gateway-dns")
PROMETHEUS = ("openshift-monitoring", "openshift-user-workload-monitoring", "monitoring")


def matches(selector: dict[str, Any], labels: tuple[tuple[str, str], ...]) -> bool:
    """True if a label selector matches these labels; an empty selector matches everything."""
    given = dict(labels)
    if not selector.get("matchLabels", {}).items() <= given.items():
        return False
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In", each
        if given.get(each["key"]) not in each["values"]:
            return False
    return True


#: Every port and protocol that the tests try.
EVERYTHING = frozenset((port, protocol) for port in PORTS_TRIED for protocol in ("TCP", "UDP"))


def allowed(policies: list[dict[str, Any]], direction: str, here: Peer, there: Peer) -> frozenset[tuple[int, str]]:
    """The ports that the policies of one end allow; without a policy for that end, every port."""
    way = {"ingress": "Ingress", "egress": "Egress"}[direction]
    own = [
        each["spec"]
        for each in policies
        if way in each["spec"]["policyTypes"] and matches(each["spec"]["podSelector"], here.labels)
    ]
    if not own or here.project != tuple(PROJECT.items()):
        return EVERYTHING
    ports: set[tuple[int, str]] = set()
    for rule in (rule for spec in own for rule in spec.get(direction, [])):
        peers = rule.get("from" if direction == "ingress" else "to")
        if peers is None or any(_is_peer(each, there) for each in peers):
            ports |= {(each["port"], each["protocol"]) for each in rule["ports"]}
    return frozenset(ports)


def _is_peer(peer: dict[str, Any], there: Peer) -> bool:
    if "ipBlock" in peer or there.address:
        if "ipBlock" not in peer or not there.address:
            return False
        assert peer["ipBlock"].keys() == {"cidr"}, peer
        return ip_address(there.address) in ip_network(peer["ipBlock"]["cidr"])
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], there.project):
            return False
    elif there.project != tuple(PROJECT.items()):
        return False
    return matches(peer.get("podSelector", {}), there.labels)


def flows(world: World, outside: tuple[Peer, ...] = OUTSIDE) -> Iterator[tuple[str, str, int, str]]:
    """Every allowed connection between our pods, and between our pods and others."""
    policies = world.kind("NetworkPolicy")
    ours = [Peer(str(component_of(each)), tuple(pod(each)["metadata"]["labels"].items())) for each in world.workloads()]
    for source in (*ours, *outside):
        for target in (*ours, *outside):
            if source not in ours and target not in ours:
                continue
            way_out = allowed(policies, "egress", source, target)
            for port, protocol in way_out & allowed(policies, "ingress", target, source):
                yield source.name, target.name, port, protocol

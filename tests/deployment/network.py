"""The connections that network policies allow between two pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.deployment.components import PORTS

PROJECT = {"kubernetes.io/metadata.name": "provider-gateway"}
PORTS_TRIED = sorted({port for ports in PORTS.values() for port in ports.values()} | {53, 443, 5353, 5672, 24224})


@dataclass(frozen=True)
class Peer:
    """A pod, ours or another, with its labels and those of its project."""

    name: str
    labels: tuple[tuple[str, str], ...]
    project: tuple[tuple[str, str], ...] = tuple(PROJECT.items())


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
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], there.project):
            return False
    elif there.project != tuple(PROJECT.items()):
        return False
    return matches(peer.get("podSelector", {}), there.labels)

"""Question 11: what does a new connection for each request cost, and how much less if its TLS session is resumed?

Each request has a TLS 1.3 connection of its own, with a client certificate. The load generator does the same work of
cryptography as the subject, so it cannot be small beside it; its CPU time is in the table.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.load import generator
from benchmarks.runs import HEADER, Medians, Run, run
from benchmarks.section import Bar, Panel, Section, median
from benchmarks.subjects import OURS, PEER, Kind, start_ours, start_subject
from benchmarks.testbed import start_model
from devtools.processes import FOLDER

if TYPE_CHECKING:
    from benchmarks.testbed import Testbed

NAME = "connections"
#: Requests of a run.
FULL, QUICK = 2000, 100
_CALLERS = 16
_WARM_UP = 100
ANEW, RESUME = "anew", "resume"
WORKERS = Kind("ours, 2 workers", "pair.now", "pair.in", "pair.out")
_KINDS = (OURS, WORKERS, PEER)

#: OpenSSL's settings for the callers: the key exchange that both subjects know. The peer has the OpenSSL of its Python,
#: which may be too old for what ours prefers; and that costs more.
_OPENSSL = """
openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = callers
[callers]
Groups = X25519
"""

#: All runs, by subject and by whether sessions are resumed.
Runs = dict[tuple[str, str], list[Run]]


def measure(bed: Testbed, rounds: int, count: int) -> Runs:
    """All runs."""
    runs: Runs = {}
    settings = FOLDER / "bench/callers.cnf"
    settings.write_text(_OPENSSL)
    with ExitStack() as stack:
        model = start_model(stack, "instant_model")
        subjects = [
            start_ours(stack, kind, bed.broker, model.url, WORKERS="2")
            if kind is WORKERS
            else start_subject(stack, kind, bed.broker, model.url)
            for kind in _KINDS
        ]
        for number in range(rounds + 1):
            for how in (ANEW, RESUME):
                for subject in subjects:
                    arguments = (subject.url, _CALLERS, count if number else _WARM_UP, how, subject.kind.routing_key)
                    callers = generator("connecting_callers", *arguments, OPENSSL_CONF=str(settings))
                    found = run(bed, model, subject, callers)
                    if number:
                        runs.setdefault((subject.kind.name, how), []).append(found)
    return runs


def _share(runs: list[Run]) -> float:
    """Percent of the connections that were resumed, but for each caller's first."""
    return median(runs, lambda run: run.load.resumed / (run.load.count - _CALLERS) * 100)


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bar."""
    values = {key: Medians.of(each) for key, each in runs.items()}
    names = [kind.name for kind in _KINDS]
    rows = []
    for how, wanted in ((ANEW, "no"), (RESUME, "yes")):
        for name in names:
            rows.append([wanted, name, f"{_share(runs[name, how]):.0f}", *values[name, how].cells()])
        ratios = values[OURS.name, how].ratios(values[PEER.name, how])
        rows.append([wanted, "ours/peer", "", *ratios])
    rates = [values[name, RESUME].figures["rate"] for name in (OURS.name, PEER.name)]
    bars = [
        Bar("resumed connections per second, against the peer's", rates[0] / rates[1], at_least=3, unit=" ×"),
        Bar("of them resumed", _share(runs[OURS.name, RESUME]), at_least=90, unit=" %"),
    ]
    panels = [
        Panel(
            title,
            "connections",
            label,
            ["new", "resumed"],
            {name: [values[name, how].figures[figure] for how in (ANEW, RESUME)] for name in names},
        )
        for figure, title, label in (
            ("rate", "a connection for each request", "requests/s"),
            ("CPU", "CPU per request", "ms"),
            ("p99", "p99", "ms"),
        )
    ]
    return Section(NAME, ["session offered", "process", "resumed %", *HEADER], rows, panels, bars)

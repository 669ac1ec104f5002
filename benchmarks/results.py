"""Question 6: what do answers cost that can wait, with SQLite and with PostgreSQL? Do many stored ones slow it down?

Both subjects are the HTTP side alone: a worker of ours replies at once, so the rate is that of accepting and storing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import result_runs
from benchmarks.callers import at
from benchmarks.result_stores import PostgreSQLStore, new_sqlite, start_postgresql
from benchmarks.section import Bar, Panel, Section, digits, median

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.load import Load
    from benchmarks.result_runs import Accepted, Purge
    from benchmarks.result_stores import Store
    from benchmarks.testbed import Testbed

NAME = "results"
OURS, PEER = "ours", result_runs.PEER
#: Accepted requests per second that are wanted of one process.
_WANTED = {"SQLite": 1000, "PostgreSQL": 800}


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        accepted: async requests of a run by concurrency.
        rows: two numbers of stored results.
        fetches: results that are fetched, of each number.
        polls: long-polls that another replica's results end.
        purged: results that expire at once.
        beside: async requests of a load before, or during a purge.
        seconds: for storing the results that expire, and for the loads before.
        purges_at_once: stores that are purged at the same time: with more than one, each disturbs the other's figures.
    """

    accepted: dict[int, int]
    rows: tuple[int, int]
    fetches: int
    polls: int
    purged: int
    beside: int
    seconds: float
    purges_at_once: int = 1


FULL = Scale({64: 2000, 256: 3000}, (1000, 1_000_000), 2000, 200, 1_000_000, 2000, 150)
QUICK = Scale({64: 200}, (100, 10_000), 100, 5, 15_000, 100, 4, purges_at_once=2)


@dataclass(frozen=True)
class Runs:
    """All runs; the keys begin with the name of the store."""

    accepted: dict[tuple[str, str, int], list[Accepted]] = field(default_factory=dict)
    fetched: dict[tuple[str, int], list[Load]] = field(default_factory=dict)
    polled: list[float] = field(default_factory=list)
    purged: dict[str, Purge] = field(default_factory=dict)


def measure(bed: Testbed, rounds: int, scale: Scale) -> Runs:
    """All runs. Those that take minutes are made once: long-polls and purges."""
    runs = Runs()
    with ExitStack() as stack:
        server = start_postgresql(stack)
        new_stores: tuple[Callable[[], Store], ...] = (lambda: new_sqlite(stack), lambda: PostgreSQLStore(server))
        for new_store in new_stores:
            _accept(bed, rounds, scale, runs, new_store)
            _fetch(bed, rounds, scale, runs, new_store)
        with ThreadPoolExecutor(scale.purges_at_once) as pool:
            stores = [new_store() for new_store in new_stores]
            purges = pool.map(lambda store: _purge(bed, scale, store), stores)
            runs.purged.update({store.name: purge for store, purge in zip(stores, purges, strict=True)})
        runs.polled.extend(result_runs.poll(bed, PostgreSQLStore(server), scale.polls))
    return runs


def _accept(bed: Testbed, rounds: int, scale: Scale, runs: Runs, new_store: Callable[[], Store]) -> None:
    with ExitStack() as stack:
        subjects = []
        for name in (OURS, PEER):
            store = new_store()
            subject = stack.enter_context(result_runs.started(bed, name, store))
            result_runs.warm_up(subject, store, min(scale.accepted))
            subjects.append((name, subject, store))
        for concurrency, count in scale.accepted.items():
            for _ in range(rounds):
                for name, subject, store in subjects:
                    run = result_runs.accept(bed, subject, store, concurrency, count)
                    runs.accepted.setdefault((store.name, name, concurrency), []).append(run)


def _fetch(bed: Testbed, rounds: int, scale: Scale, runs: Runs, new_store: Callable[[], Store]) -> None:
    with ExitStack() as stack:
        subjects = []
        for rows in scale.rows:
            store = new_store()
            subject = stack.enter_context(result_runs.started(bed, f"ours, {rows} rows", store))
            result_runs.fill(subject, store, rows)
            subjects.append((store.name, subject, rows))
        for _ in range(rounds):
            for name, subject, rows in subjects:
                runs.fetched.setdefault((name, rows), []).append(result_runs.fetch(subject, rows, scale.fetches))


def _purge(bed: Testbed, scale: Scale, store: Store) -> Purge:
    with result_runs.started(bed, "purged", store) as subject:
        return result_runs.purge(subject, store, scale.purged, scale.beside, scale.seconds)


_HEADER = [
    *("run", "store", "process", "requests/s", "p50 ms", "p99 ms", "all stored after s", "CPU/request ms"),
    "CPU/request of broker ms",
]


def present(runs: Runs) -> Section:
    """Medians of the rounds, and the bars."""
    rows: list[list[str]] = []
    bars: list[Bar] = []
    rates: dict[tuple[str, str, int], float] = {}
    for (store, process, concurrency), each in runs.accepted.items():
        rates[store, process, concurrency] = median(each, lambda run: run.load.rate)
        figures = [rates[store, process, concurrency], *_times([run.load for run in each])]
        figures += [median(each, lambda run: run.stored_after), median(each, lambda run: run.cpu["process"])]
        figures.append(median(each, lambda run: run.cpu["broker"]))
        rows.append([f"accept, {concurrency} callers", store, process, *map(digits, figures)])
    concurrencies = sorted({concurrency for _, _, concurrency in rates})
    for store, wanted in _WANTED.items():
        for concurrency in concurrencies:
            own, other = (rates[store, process, concurrency] for process in (OURS, PEER))
            text = f"accepted per second with {store}, {concurrency} callers"
            bars += [
                Bar(text, own, at_least=wanted),
                Bar(f"{text}, against the peer's", own / other, at_least=2, unit=" ×"),
            ]
    for (store, count), loads in runs.fetched.items():
        rows.append([f"fetch, {count:,} rows", store, OURS, "", *map(digits, _times(loads)), "", "", ""])
    few, many = sorted({count for _, count in runs.fetched})
    for store in _WANTED:
        ratio = _times(runs.fetched[store, many])[0] / _times(runs.fetched[store, few])[0]
        bars.append(Bar(f"p50 of a fetch among {many:,} rows, against {few:,}, {store}", ratio, at_most=1.5, unit=" ×"))
    polled = sorted(runs.polled)
    times = [digits(at(polled, percent)) for percent in (50, 99)]
    rows.append(["long-poll, from another replica's commit", "PostgreSQL", OURS, "", *times, "", "", ""])
    bars.append(Bar("p50 from another replica's commit to the response", at(polled, 50), at_most=50, unit=" ms"))
    for store, each in runs.purged.items():
        during = f"accept, during a purge that leaves {each.left:,} rows"
        for text, loads in (("accept, before a purge", each.before), (during, each.during)):
            rate = median(loads, lambda load: load.rate)
            rows.append([text, store, OURS, digits(rate), *map(digits, _times(loads)), "", "", ""])
        ratio = _times(each.during)[1] / _times(each.before)[1]
        bars.append(Bar(f"p99 during a purge, against before, {store}", ratio, at_most=2, unit=" ×"))
        text = f"rows purged for each row that requests add meanwhile, {store}"
        bars.append(Bar(text, each.keeps_up, at_least=1))
    panels = [
        Panel(
            f"accepted with {store}",
            "concurrency",
            "requests/s",
            [str(each) for each in concurrencies],
            {process: [rates[store, process, each] for each in concurrencies] for process in (OURS, PEER)},
        )
        for store in _WANTED
    ]
    return Section(NAME, _HEADER, rows, panels, bars)


def _times(loads: list[Load]) -> list[float]:
    """The medians of p50 and p99."""
    return [median(loads, lambda load, percent=percent: load.milliseconds[percent]) for percent in (50, 99)]

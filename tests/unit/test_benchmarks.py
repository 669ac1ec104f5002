"""What the benchmarks compute from what they measure: counts, percentiles, verdicts, and the document they write."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics

from pika import frame, spec
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import (
    amqp_only,
    connections,
    document,
    many_callers,
    open_loop,
    parking,
    queue_depth,
    results,
    sizes,
    throughput,
    usage,
    workers,
)
from benchmarks.amqp_wire import Confirms
from benchmarks.bench import QUESTIONS
from benchmarks.bodies import BODY, embeddings, image
from benchmarks.caller import Answer
from benchmarks.callers import at, gets, posts
from benchmarks.initiator import Initiator
from benchmarks.load import Load
from benchmarks.open_callers import arrivals
from benchmarks.parking_runs import Listed
from benchmarks.result_runs import Accepted, Purge
from benchmarks.runs import Run
from benchmarks.section import Bar, Section, digits
from devtools.processes import ROOT


def load(rate: float, milliseconds: float, errors: int = 0) -> Load:
    """A run of 1,000 requests."""
    statuses = {"200": 1000 - errors, "503": errors} if errors else {"200": 1000}
    return Load(1000 / rate, dict.fromkeys((50, 95, 99, 99.9, 100), milliseconds), statuses, 0.01)


def run(rate: float, milliseconds: float, cpu: float, megabytes: float = 1, **more: int) -> Run:
    """A run of 1,000 requests that cost the subject this much, and the load generator 0.1 ms each."""
    spent = {"process": cpu, "broker": 0.1, "model": 0.1, "load": 0.1}
    memory = usage.Memory(1024, int(megabytes * 1024))
    return Run(dataclasses.replace(load(rate, milliseconds), **more), spent, memory)


class CountTests(SynchronousTestCase):
    """What is counted while a benchmark runs."""

    def test_confirms(self) -> None:
        """Confirms count once each, alone or several at a time, in whatever order."""
        confirms = Confirms()
        counts = []
        for tag, multiple in ((5, False), (4, True), (7, False), (6, False), (9, True)):
            confirms.add(tag, multiple)
            counts.append(confirms.count)
        self.assertEqual(counts, [1, 5, 6, 7, 9])

    def test_publish(self) -> None:
        """The prepared frames are those that pika would write, each with a number of its own."""
        data, found = Initiator._message("ours.now")(12), []
        while data:
            size, value = frame.decode_frame(data)
            data = data[size:]
            found.append(value)
        method, header, body = found
        self.assertIsInstance(method.method, spec.Basic.Publish)
        self.assertEqual((method.method.exchange, method.method.routing_key), ("ML.MQ", "ours.now"))
        number = "0" * 30 + "12"
        self.assertEqual((header.properties.correlation_id, header.properties.message_id), (number, number))
        self.assertEqual((header.body_size, body.fragment, len(body.fragment)), (24, BODY, 24))

    def test_requests(self) -> None:
        """A routing key and headers are sent again and again; paths are taken in turn, from the first one again."""
        request = posts("/v1/predict", "ours.now", ["Prefer: respond-async"])
        text = next(request).decode()
        self.assertEqual(next(request).decode(), text)
        head, _, body = text.partition("\r\n\r\n")
        self.assertEqual(head.splitlines()[0], "POST /v1/predict HTTP/1.1")
        for line in ("routing-key: ours.now", "Prefer: respond-async", f"Content-Length: {len(body)}"):
            self.assertIn(line, head.splitlines())
        paths = gets(["/a", "/b"])
        self.assertEqual([next(paths).split()[1] for _ in range(3)], [b"/a", b"/b", b"/a"])

    def test_bodies(self) -> None:
        """A request has the body and the media type that it is told; bodies have exactly the size asked for."""
        request = next(posts("/v1/predict", "ours.now", ["Content-Type: image/jpeg"], image(1000)))
        head, _, body = request.partition(b"\r\n\r\n")
        self.assertEqual((head.count(b"Content-Type"), len(body)), (1, 1000))
        for size in (10_000, 100_000):
            text = embeddings(size)
            self.assertEqual((len(text), text), (size, embeddings(size)))
            rows = json.loads(text)["embeddings"]
            self.assertGreater(len(rows) * len(rows[0]), size / 15)

    def test_answer(self) -> None:
        """An answer is complete with its last byte, whether it comes in one piece or in many, and has its status."""
        whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nab\r\n"
        self.assertEqual(Answer().add(whole), "202")
        in_pieces = Answer()
        found = [in_pieces.add(whole[at_ : at_ + 1]) for at_ in range(len(whole))]
        self.assertEqual(found, [None] * (len(whole) - 1) + ["202"])

    def test_arrivals(self) -> None:
        """Requests are due at the rate, at times that only the seed decides, and as a Poisson process has them."""
        due = arrivals(1000, 10, 1)
        self.assertEqual((due, due == arrivals(1000, 10, 2)), (arrivals(1000, 10, 1), False))
        gaps = [b - a for a, b in itertools.pairwise(due)]
        self.assertGreater(min(gaps), 0)
        self.assertLess(abs(len(due) / 10_000 - 1), 0.05)
        self.assertLess(abs(statistics.stdev(gaps) / statistics.mean(gaps) - 1), 0.05)

    def test_wanted_status(self) -> None:
        """A load that is to be answered with 202 has errors if it is not."""
        statuses = {"202": 8, "200": 1, "closed": 1}
        self.assertEqual([Load(1, {}, statuses, 0, wanted).errors for wanted in ("202", "200")], [2, 9])

    def test_percentiles(self) -> None:
        """A percentile is a value that was measured; the hundredth is the longest."""
        values = [float(value) for value in range(1, 201)]
        self.assertEqual([at(values, percent) for percent in (50, 95, 99, 100)], [100, 190, 198, 200])
        self.assertEqual([at([3.0], percent) for percent in (50, 100)], [3, 3])

    def test_usage(self) -> None:
        """CPU time and memory are read of a process; the peak is not under what is held."""
        self.assertGreater(usage.cpu_seconds(os.getpid()), 0)
        self.assertGreater(usage.cpu_seconds_of_each(os.getpid())[os.getpid()], 0)
        memory = usage.memory(os.getpid())
        self.assertGreaterEqual(memory.peak, memory.resident)
        self.assertGreater(memory.resident, 1000)


class PresentationTests(SynchronousTestCase):
    """Figures become tables, plots and verdicts."""

    def test_verdicts(self) -> None:
        """A bar is met by the figure that was measured, not by the one that is printed."""
        met = [
            Bar("", value, at_most=most, at_least=least).is_met
            for value, most, least in ((0.5, 0.5, None), (0.504, 0.5, None), (2.0, None, 2.0), (1.999, None, 2.0))
        ]
        self.assertEqual(met, [True, False, True, False])

    def test_digits(self) -> None:
        """Figures are printed with the digits that mean something."""
        printed = [digits(value) for value in (0, 3, 0.0123, 0.456, 4.567, 45.67, 456.7, 4567.8)]
        self.assertEqual(printed, ["0", "3", "0.012", "0.46", "4.57", "45.7", "457", "4,568"])

    def test_throughput(self) -> None:
        """The bars compare the medians of both processes."""
        cpu = {"ours": 0.4, "peer": 1.0}
        rates = {"ours": 1500.0, "peer": 1000.0}
        runs = {
            (name, concurrency): [run(rates[name] + more, 2.0, cpu[name] + more) for more in (0.0, 0.01, -0.01)]
            for name in ("ours", "peer")
            for concurrency in (1, 64)
        }
        section = throughput.present(runs)
        self.assertEqual([round(bar.measured, 3) for bar in section.bars], [0.4, 0.4, 1.0, 1.5, 0.25])
        self.assertEqual([bar.is_met for bar in section.bars], [True, True, False, False, True])
        self.assertEqual([len(row) for row in section.rows], 6 * [len(section.header)])

    def test_sizes(self) -> None:
        """The bars: cost, rate and peak at 100 KB and 1 MB; p99 of small requests beside large ones, against alone."""
        runs = sizes.Runs()
        for name, rate, cpu, peak in (("ours", 180, 3.0, 100), ("peer", 100, 5.0, 90)):
            for size, kind in (("24 B", "JSON"), ("100 KB", "JSON"), ("1 MB", "image")):
                runs.sized[name, size, kind] = [run(rate, 9, cpu, peak)] * 3
            runs.sized[name, "24 B", sizes.ANSWER] = [run(rate, 9, cpu, peak)]
            runs.beside[name, sizes.ALONE] = [run(1000, 10, 1)]
            runs.beside[name, "1 caller with 1 MB"] = [run(1000, 20, 1), run(1000, 29, 1), run(1000, 31, 1)]
            runs.beside[name, "4 callers with 1 MB"] = [run(1000, 31, 1)]
        section = sizes.present(runs)
        bars = {bar.text: (round(bar.measured, 2), bar.is_met) for bar in section.bars}
        self.assertEqual(
            bars,
            {
                "CPU per request, 100 KB JSON, against the peer's": (0.6, True),
                "throughput, 100 KB JSON, against the peer's": (1.8, True),
                "peak of memory, 100 KB JSON, against the peer's": (1.11, False),
                "CPU per request, 1 MB image, against the peer's": (0.6, True),
                "peak of memory, 1 MB image, against the peer's": (1.11, False),
                "CPU of the load generator, 1 MB image, against ours": (0.03, True),
                "p99 of 24 B beside 1 caller with 1 MB, against alone": (2.9, True),
                "p99 of 24 B beside 4 callers with 1 MB, against alone": (3.1, False),
            },
        )
        self.assertEqual({len(row) for row in section.rows}, {len(section.header)})

    def test_open_loop(self) -> None:
        """The bars compare cost and p99 at half of the maximum: of each one's own, and of the peer's for both."""
        runs = open_loop.Runs(most={name: [run(1000, 60, 0.5)] for name in ("ours", "peer")})
        for level in (25, 50):
            runs.open["ours", open_loop.OWN, level] = [run(500, 7, 0.8, late=20)]
            runs.open["ours", open_loop.PEERS, level] = [run(250, 8, 0.9)]
            runs.open["peer", open_loop.OWN, level] = [run(250, 10, 2)]
        section = open_loop.present(runs)
        self.assertEqual([round(bar.measured, 3) for bar in section.bars], [0.4, 0.7, 0.45, 0.8, 0.125])
        self.assertEqual([bar.is_met for bar in section.bars], [True, True, False, False, True])
        self.assertIn("2.00", [row[-1] for row in section.rows])
        self.assertEqual({len(row) for row in section.rows}, {len(section.header)})

    def test_connections(self) -> None:
        """The bars: resumed connections per second against the peer's, and that they are resumed at all."""
        runs = {
            (name, how): [run(rate, 9, 1, resumed=984 if how == connections.RESUME else 0)]
            for name, rate in (("ours", 900), ("ours, 2 workers", 900), ("peer", 300))
            for how in (connections.ANEW, connections.RESUME)
        }
        section = connections.present(runs)
        self.assertEqual([(round(bar.measured, 3), bar.is_met) for bar in section.bars], [(3, True), (100, True)])
        self.assertEqual({len(row) for row in section.rows}, {len(section.header)})
        for each in runs["ours", connections.RESUME]:
            runs["ours", connections.RESUME] = [dataclasses.replace(each, load=load(900, 9))]
        self.assertEqual([bar.is_met for bar in connections.present(runs).bars], [True, False])

    def test_workers(self) -> None:
        """The busiest process limits, in the round in which it took least; the bars compare what it bears."""
        runs = {
            ("one process", 64): [workers.Run(load(900, 60), [cpu], 60_000) for cpu in (0.7, 0.5, 0.6)],
            ("two workers", 64): [workers.Run(load(1000, 60), [0.01, 0.2, 0.4], 180_000)],
        }
        section = workers.present(runs)
        self.assertEqual([(bar.measured, bar.is_met) for bar in section.bars], [(1.25, False)])
        self.assertEqual([len(row) for row in section.rows], 3 * [len(section.header)])

    def test_many_callers(self) -> None:
        """Errors of any round count, and are told; a caller's memory includes the connection."""
        runs = {
            (name, 1000): [
                many_callers.Run(1000, load(100, 5000, errors), 900, 10_000, 40_000, 60_000, 1.0)
                for errors in (0, 0, 3)
            ]
            for name in ("ours", "peer")
        }
        section = many_callers.present(runs)
        self.assertEqual([bar.measured for bar in section.bars], [3, 50])
        self.assertEqual([bar.is_met for bar in section.bars], [False, False])
        self.assertIn("503", section.notes[0])
        self.assertEqual([len(row) for row in section.rows], 3 * [len(section.header)])

    def test_other_tables(self) -> None:
        """Every row of every table has as many cells as its header."""
        cpu = dict.fromkeys(("process", "broker", "model", "load"), 0.1)
        alone = amqp_only.present({name: [amqp_only.Run(1000, cpu)] for name in ("ours", "peer")})
        keys = [(name, depth) for name in ("ours", "peer") for depth in (0, 100)]
        behind = {key: [queue_depth.Drain(1000, cpu)] for key in keys}
        beside = {key: [queue_depth.Request(load(1000, 2), cpu)] for key in keys}
        deep = queue_depth.present(queue_depth.Runs(behind, beside))
        for section in (alone, deep):
            self.assertEqual({len(row) for row in section.rows}, {len(section.header)})

    def test_results(self) -> None:
        """The bars: rates by callers, the p50 of fetches, the median long-poll, and the p99 and the rate of a purge."""
        rates = {"ours": 1600.0, "peer": 1000.0}
        runs = results.Runs(polled=[30.0, 80.0, 40.0])
        for store in ("SQLite", "PostgreSQL"):
            for name, rate in rates.items():
                for concurrency in (64, 256):
                    cpu = {"process": 0.6, "broker": 0.2}
                    runs.accepted[store, name, concurrency] = [Accepted(load(rate - concurrency, 9), cpu, 2.0)]
            runs.fetched.update({(store, 1000): [load(1, 2)], (store, 1_000_000): [load(1, 4)]})
            runs.purged[store] = Purge([load(900, 10)] * 2, [load(800, 12), load(800, 15), load(800, 40)], 12_345, 0.9)
        section = results.present(runs)
        bars = {bar.text: (round(bar.measured, 2), bar.is_met) for bar in section.bars}
        self.assertEqual(bars["accepted per second with SQLite, 256 callers"], (1344, True))
        self.assertEqual(bars["accepted per second with PostgreSQL, 256 callers, against the peer's"], (1.81, False))
        self.assertEqual(bars["p50 of a fetch among 1,000,000 rows, against 1,000, SQLite"], (2, False))
        self.assertEqual(bars["p50 from another replica's commit to the response"], (40, True))
        self.assertEqual(bars["accepted per second with SQLite, 64 callers"], (1536, True))
        self.assertEqual(bars["p99 during a purge, against before, PostgreSQL"], (1.5, True))
        self.assertEqual(bars["rows purged for each row that requests add meanwhile, SQLite"], (0.9, False))
        self.assertEqual({len(row) for row in section.rows}, {len(section.header)})

    def test_parking(self) -> None:
        """The bars: median seconds and worst memory of a list, rates of replays, and p99 beside against that alone."""
        runs = parking.Runs()
        for kind in ("classic", "quorum"):
            for way in (parking.COMMAND, parking.HTTP):
                runs.listed[kind, way] = [Listed(8, 120), Listed(12, 151), Listed(9, 100)]
                runs.replayed[kind, way] = [900, 1100, 1200]
            runs.beside[kind, parking.NOTHING] = [load(900, 10)] * 3
            runs.beside[kind, parking.LOOK] = [load(900, 15), load(900, 25), load(900, 16)]
            runs.beside[kind, parking.REPLAY] = [load(900, 21)]
        section = parking.present(runs)
        bars = {bar.text: (bar.measured, bar.is_met) for bar in section.bars}
        self.assertEqual(bars["list, quorum, by command"], (9, True))
        self.assertEqual(bars["memory of a list, classic, by HTTP"], (151, False))
        self.assertEqual(bars["replay, classic, by command"], (1100, True))
        self.assertEqual(bars["p99 beside a look by HTTP, quorum, against that without"], (1.6, True))
        self.assertEqual(bars["p99 beside a replay by HTTP, quorum, against that without"], (2.1, False))
        self.assertEqual({len(row) for row in section.rows}, {len(section.header)})

    def test_document(self) -> None:
        """A section takes the place of what stood between its marks; the rest stays."""
        text = "Prose.\n\n<!-- begin a -->\n<!-- end a -->\n\nMore.\n"
        section = Section(
            "a", ["x", "y"], [["1", "2"]], [], [Bar("few", 3.25, at_most=2, unit=" ms")], ["ours: 1 × 503"]
        )
        rendered = document.render(section, {"date": "today"}, 3, "a.svg")
        once = document.insert(text, "a", rendered)
        self.assertEqual((document.insert(once, "a", rendered), document.extract(once, "a")), (once, rendered))
        for part in ("Prose.", "More.", "![a](a.svg)", "| 1 | 2 |", "≤ 2 ms | 3.25 ms | **no** |", "- rounds: 3"):
            self.assertIn(part, once)
        self.assertRaises(ValueError, document.insert, text, "b", "")

    def test_prose(self) -> None:
        """The prose has a place for every question's answer."""
        prose = (ROOT / "benchmarks/document.md").read_text()
        for each in QUESTIONS.values():
            document.insert(prose, each.NAME, "")

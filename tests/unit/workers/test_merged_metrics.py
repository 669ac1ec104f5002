"""The metrics of several processes, merged into one exposition."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.metrics import Metrics
from provider_gateway.workers.merged_metrics import MergedMetrics, plain


class MergedMetricsTests(SynchronousTestCase):
    """The merged metrics of two processes."""

    def merged(self) -> list[Metric]:
        """The merged metrics, as they arrive by JSON."""
        merged = MergedMetrics()
        for number, text in enumerate(('"\\\n', "ML.MQ")):
            metrics = Metrics()
            metrics.published.labels(text, "confirmed").inc(number + 1)
            metrics.http_request_seconds.labels("/v1/predict").observe(number)
            merged.add(str(number), json.loads(json.dumps(plain(metrics.registry.collect()))))
        return merged.families()

    def test_parses(self) -> None:
        """Prometheus' own parsers find every family once, and the label on every sample."""

        class Registry:
            def collect(_self) -> list[Metric]:  # noqa: N805
                return self.merged()

        registry: Any = Registry()
        for parse, text in (
            (text_string_to_metric_families, generate_latest(registry)),
            (parse_openmetrics, generate_openmetrics(registry)),
        ):
            families = list(parse(text.decode()))
            names = [each.name for each in families]
            self.assertEqual(len(names), len(set(names)))
            samples = [sample for family in families for sample in family.samples]
            self.assertEqual({sample.labels["worker"] for sample in samples}, {"0", "1"})
            published = {
                (sample.labels["exchange"], sample.labels["worker"]): sample.value
                for sample in samples
                if sample.name == "provider_gateway_published_total"
            }
            self.assertEqual(published, {('"\\\n', "0"): 1, ("ML.MQ", "1"): 2})

    def test_infinity(self) -> None:
        """Infinity, which standard JSON lacks, arrives."""
        metric = Metric("m", "d", "gauge")
        metric.add_sample("m", {}, float("inf"))
        merged = MergedMetrics()
        merged.add("0", json.loads(json.dumps(plain([metric]))))
        self.assertEqual(merged.families()[0].samples[0].value, float("inf"))

"""What a store on a database shows before it is open."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.sql_store import SQLStore
from provider_gateway.store.sqlite import SQLite


class MetricsTests(SynchronousTestCase):
    """Metrics of a store."""

    def test_from_zero(self) -> None:
        """The counter of stored results begins at 0 for each status that a result can have."""
        metrics = Metrics()
        SQLStore(Clock(), SQLite(Path("/r.db")), ttl=1, wall_clock=lambda: 0, metrics=metrics)
        (family,) = metrics.results_stored.collect()
        found = {each.labels["status"]: each.value for each in family.samples if each.name.endswith("_total")}
        self.assertEqual(found, dict.fromkeys(("succeeded", "failed", "parked", "expired"), 0))

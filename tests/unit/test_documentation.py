"""The documents list what there is: variables, metrics and routes, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import AliasChoices
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.model_entry import ModelEntry
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.gateway.api import API
from provider_gateway.http_server import access_log
from provider_gateway.observability.metrics import Metrics
from provider_gateway.openapi.document import routes_of
from provider_gateway.workbench.pages import Pages
from provider_gateway.workbench.parking_routes import ParkingRoutes

DOCS = Path(__file__).parents[2] / "docs"
#: Metrics of the supervisor, which are not in the registry of a worker.
OF_WORKERS = {"workers", "worker_up", "worker_restarts_total"}


def first_column(document: str, heading: str) -> set[str]:
    """What stands in back quotes in the first column of the table below a heading."""
    text = (DOCS / document).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


class DocumentationTests(SynchronousTestCase):
    """Tables of docs/."""

    def test_variables(self) -> None:
        """docs/settings.md lists every variable that the program reads."""
        names: set[str] = set()
        for name, field in Settings.model_fields.items():
            alias = field.validation_alias
            names |= {str(each) for each in alias.choices} if isinstance(alias, AliasChoices) else {name.upper()}
        self.assertEqual(first_column("settings.md", "Variables"), names)

    def test_queue_file(self) -> None:
        """docs/settings.md lists every key of an entry of the queue file, and of its model."""
        keys = {str(field.alias) for field in QueueEntry.model_fields.values()}
        keys |= {f"model.{field.alias}" for field in ModelEntry.model_fields.values()}
        self.assertEqual(first_column("settings.md", "Queue file"), keys)

    def test_metrics(self) -> None:
        """docs/operation.md lists every metric that the program exports."""
        families = [each for each in Metrics().registry.collect() if each.name.startswith("provider_gateway_")]
        ends = {"counter": "_total"}
        names = {each.name.removeprefix("provider_gateway_") + ends.get(each.type, "") for each in families}
        self.assertEqual(first_column("operation.md", "Metrics"), names | OF_WORKERS)

    def test_routes(self) -> None:
        """docs/interface.md lists every route of the HTTPS listener, and metrics know the path of each."""
        routes = {route for each in (API, ParkingRoutes, Pages) for route in routes_of(each.app)}
        listed = {name for name in first_column("interface.md", "HTTP") if re.match(r"[A-Z]+ /", name)}
        self.assertEqual(listed, {" ".join(route) for route in routes})
        known = [*access_log._ROUTES.values(), *[route for _, route in access_log._PATTERNS]]
        self.assertEqual(set(known), {path for _, path in routes})

"""Dashboard, alerts and monitors use metrics that exist, with labels that they have, and explain themselves."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.metrics import Metrics
from tests.deployment.manifests import parameters, worlds
from tests.deployment.queries import Query, QueryError, is_duration, read
from tests.support.folders import ROOT

OPENSHIFT = ROOT / "openshift"
#: Stands for where people read the documentation.
RUNBOOKS = "https://runbooks.example.org/"
#: Labels that Prometheus adds to every target.
TARGET_LABELS = frozenset({"namespace", "job", "instance", "pod", "service", "container", "endpoint"})
#: Metrics of RabbitMQ's plugin rabbitmq_prometheus 3.10 to 4.x with return_per_object_metrics, and their labels.
RABBITMQ = {
    "rabbitmq_queue_messages": {"vhost", "queue"},
    "rabbitmq_queue_messages_ready": {"vhost", "queue"},
    "rabbitmq_queue_messages_unacked": {"vhost", "queue"},
    "rabbitmq_queue_consumers": {"vhost", "queue"},
    "rabbitmq_alarms_memory_used_watermark": set(),
    "rabbitmq_alarms_free_disk_space_watermark": set(),
}
FUNCTIONS = frozenset({"absent", "changes", "count", "deriv", "histogram_quantile", "increase", "max", "min"})
FUNCTIONS |= {"rate", "sum", "time", "vector"}
UNITS = frozenset({"short", "s", "bytes", "percentunit", "reqps", "cps"})
COUNTING = re.compile(r"_(total|bucket|count|sum)$")


@cache
def exported() -> dict[str, set[str]]:
    """Every metric that ``/metrics`` can show, with its labels."""
    metrics = Metrics()
    for collector in vars(metrics).values():
        if not isinstance(collector, MetricWrapperBase):
            continue
        for count in range(1, 5):
            try:
                collector.labels(*["x"] * count)
            except ValueError:  # the metric has another number of labels
                continue
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            # With WORKERS, every sample has the label worker.
            found.setdefault(sample.name, {"worker"}).update(sample.labels)
    return found


def known() -> dict[str, set[str]]:
    """Every metric that a query may name, with its own labels."""
    return {**exported(), **RABBITMQ}


def document(name: str) -> Any:
    """The content of a file of openshift/: one JSON document, or a list of YAML documents."""
    text = (OPENSHIFT / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else list(yaml.safe_load_all(text))


def panels() -> list[dict[str, Any]]:
    """The panels with queries."""
    return [each for each in document("grafana-dashboard.json")["panels"] if each["type"] != "row"]


def dashboard_queries() -> list[tuple[str, str]]:
    """Each panel with each of its queries."""
    return [(each["title"], target["expr"]) for each in panels() for target in each["targets"]]


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    (found,) = document("prometheus-rules.yaml")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def anchors(name: str) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


class QueriesTestCase(SynchronousTestCase):
    """Checks of queries."""

    def assert_query(self, where: str, text: str) -> Query:
        """Assert that a query uses metrics, labels and functions that exist, and rates only of counters."""
        query = read(text)
        self.assertTrue(query.selectors, where)
        self.assertLessEqual(query.functions, FUNCTIONS, where)
        labels = set(TARGET_LABELS)
        for each in query.selectors:
            self.assertIn(each.metric, known(), where)
            own = known()[each.metric]
            labels |= own
            for matcher in each.matchers:
                self.assertIn(matcher.label, own | TARGET_LABELS, f"{where}: {each.metric}")
                if matcher.operator in {"=~", "!~"} and "$" not in matcher.value:
                    re.compile(matcher.value)
            if "rate(" in text or "increase(" in text:
                counts = COUNTING.search(each.metric) is not None
                self.assertTrue(counts or each.range is None, f"{where}: {each.metric} is no counter")
        self.assertLessEqual(query.grouping, labels, where)
        return query


class DashboardTests(QueriesTestCase):
    """openshift/grafana-dashboard.json."""

    def test_queries(self) -> None:
        """Every panel queries metrics that we or RabbitMQ export, with labels that they have."""
        for title, text in dashboard_queries():
            self.assert_query(title, text)

    def test_legends(self) -> None:
        """A legend uses only labels that remain after grouping."""
        for panel in panels():
            for target in panel["targets"]:
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                query = read(target["expr"])
                left = query.grouping or set().union(*(known()[each.metric] for each in query.selectors), TARGET_LABELS)
                self.assertLessEqual(shown, left, panel["title"])

    def test_everything_is_shown(self) -> None:
        """The dashboard shows each of our metrics."""
        shown = {each.metric for _, text in dashboard_queries() for each in read(text).selectors}
        ours = {name for name in exported() if name.startswith("provider_gateway_")}
        # A histogram is shown by its buckets.
        missing = {name for name in ours - shown if not name.endswith(("_created", "_count", "_sum"))}
        self.assertEqual(set(), missing)

    def test_explained(self) -> None:
        """Every panel has a title of its own, a sentence that explains it, and a unit."""
        titles = [each["title"] for each in panels()]
        self.assertEqual(len(titles), len(set(titles)))
        for panel in panels():
            self.assertRegex(panel["description"], r"^.{20,}\.$", panel["title"])
            self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS, panel["title"])

    def test_importable(self) -> None:
        """Grafana 10.4 and later accept it: schema version, ids, positions; it is tied to no server or data source."""
        found = document("grafana-dashboard.json")
        self.assertGreaterEqual(found["schemaVersion"], 39)
        self.assertNotIn("id", found)
        self.assertRegex(found["uid"], r"^[A-Za-z0-9_-]{1,40}$")
        everything = found["panels"]
        ids = [each["id"] for each in everything]
        self.assertEqual(len(ids), len(set(ids)))
        taken: set[tuple[int, int]] = set()
        for each in everything:
            place = each["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertLessEqual(place["x"] + place["w"], 24, each["title"])
            self.assertFalse(taken & cells, f"{each['title']} lies over another panel")
            taken |= cells
        for panel in panels():
            for each in (panel, *panel["targets"]):
                self.assertEqual({"type": "prometheus", "uid": "${datasource}"}, each["datasource"], panel["title"])

    def test_variables(self) -> None:
        """Data source and instance can be chosen; variables query existing metrics; used variables are declared."""
        variables = document("grafana-dashboard.json")["templating"]["list"]
        names = {each["name"] for each in variables}
        self.assertLessEqual({"datasource", "instance"}, names)
        for each in variables:
            if each["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
                assert found is not None, each["name"]
                self.assertEqual(each["query"]["query"], each["definition"])
                self.assertEqual("${datasource}", each["datasource"]["uid"])
                (selector,) = self.assert_query(each["name"], found[1]).selectors
                self.assertIn(found[2], known()[selector.metric] | TARGET_LABELS)
        for title, text in dashboard_queries():
            self.assertLessEqual(set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"}, names, title)
            ours = [each for each in read(text).selectors if not each.metric.startswith("rabbitmq_")]
            for selector in ours:
                self.assertLessEqual({"job", "instance"}, {each.label for each in selector.matchers}, title)


class RulesTests(QueriesTestCase):
    """openshift/prometheus-rules.yaml."""

    def test_shape(self) -> None:
        """The file is a PrometheusRule; names are unique; durations and severities are valid."""
        (found,) = document("prometheus-rules.yaml")
        self.assertEqual(("monitoring.coreos.com/v1", "PrometheusRule"), (found["apiVersion"], found["kind"]))
        for names in ([each["name"] for each in found["spec"]["groups"]], [each["alert"] for each in rules()]):
            self.assertEqual(len(names), len(set(names)))
        for rule in rules():
            self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"}, rule["alert"])
            self.assertTrue(is_duration(rule.get("for", "0s")), rule["alert"])
            self.assertIn(rule["labels"]["severity"], {"info", "warning", "critical"}, rule["alert"])

    def test_queries(self) -> None:
        """Every alert queries metrics that exist, and compares them with a value."""
        for rule in rules():
            self.assert_query(rule["alert"], rule["expr"])
            self.assertRegex(rule["expr"], r"[<>]=? [\d.]+\s*$|^absent\(|== 0\s*$", rule["alert"])

    def test_annotations(self) -> None:
        """Every alert says what happened and what that means; its runbook is a heading that exists in docs/."""
        for rule in rules():
            notes = rule["annotations"]
            self.assertEqual({"summary", "description", "runbook_url"}, notes.keys() - {"workbench_url"}, rule["alert"])
            self.assertEqual(notes["runbook_url"][: len(RUNBOOKS)], RUNBOOKS, rule["alert"])
            path, _, anchor = notes["runbook_url"].removeprefix(RUNBOOKS).partition("#")
            self.assertIn(anchor, anchors(path), rule["alert"])
            used = set(re.findall(r"\$labels\.(\w+)", "".join(notes.values())))
            query = read(rule["expr"])
            self.assertLessEqual(used, query.grouping or TARGET_LABELS, rule["alert"])

    def test_workbench(self) -> None:
        """Alerts of parked messages, and no others, link to the page of the gateway that shows these."""
        linked = {rule["alert"]: rule["annotations"].get("workbench_url", "") for rule in rules()}
        parked = {name for name in linked if "Park" in name}
        self.assertEqual({name for name, url in linked.items() if url}, parked)
        self.assertEqual(len(parked), 3)
        for name in parked:
            self.assertTrue(linked[name].startswith(f"https://{parameters()['ROUTE_HOST']}/workbench"), linked[name])

    def test_installed(self) -> None:
        """The documented command puts one's own addresses in: none of the placeholders remains."""
        text = (ROOT / "docs/openshift.md").read_text(encoding="utf-8")
        (command,) = re.findall(r"^    (sed .*prometheus-rules.yaml \| oc apply -f -)$", text, re.MULTILINE)
        here = {"PATH": "/usr/bin:/bin", "DOCS": "https://git.my.org/a/b/-/blob/main", "ROUTE_HOST": "ml.my.org"}
        script = ["/bin/bash", "-c", f"oc() {{ cat; }}; {command}"]
        out = subprocess.run(script, env=here, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        (found,) = yaml.safe_load_all(out)
        self.assertNotIn("example.org", str(found))
        notes = [rule["annotations"] for group in found["spec"]["groups"] for rule in group["rules"]]
        self.assertEqual(len(notes), len(rules()))
        for each in notes:
            self.assertRegex(each["runbook_url"], r"^https://git\.my\.org/a/b/-/blob/main/docs/\w[\w-]*\.md#[\w-]+$")
            self.assertRegex(
                each.get("workbench_url", "https://ml.my.org/workbench"), r"^https://ml\.my\.org/workbench"
            )

    def test_queues_without_consumers(self) -> None:
        """Queues in which messages wait without a consumer, as they should, are no alert; work queues are."""
        wait = ("fib.retry", "fib.parking", "fib.parking.operator", "response.webhooks.retry.30m", "")
        alert = ("fib", "response", "response.webhooks", "my.retry.jobs", "parking", "fib.operator")
        found = [each for rule in rules() for each in read(rule["expr"]).selectors]
        left_out = {one.value for each in found for one in each.matchers if one.label + one.operator == "queue!~"}
        (expression,) = left_out
        self.assertEqual([name for name in (*wait, *alert) if re.fullmatch(expression, name)], list(wait))

    def test_documented_alerts(self) -> None:
        """There is an alert for each metric that docs/delivery.md and docs/security.md say to alert on."""
        table = (
            (ROOT / "docs/delivery.md").read_text(encoding="utf-8").split("## What to alert on")[1].split("\n## ")[0]
        )
        wanted = set(re.findall(r"provider_gateway_\w+", table))
        wanted |= {"provider_gateway_certificate_expiry_seconds", "provider_gateway_reloads_total"}
        self.assertGreater(len(wanted), 6)
        watched = {each.metric for rule in rules() for each in read(rule["expr"]).selectors}
        self.assertEqual(set(), wanted - watched)

    def test_first_event(self) -> None:
        """Alerts count the first event of a counter whose labels come with that event: increase() alone ignores it."""
        late = {"parked", "redelivered", "reloads", "published"}
        for rule in rules():
            for name in late:
                metric = f"provider_gateway_{name}_total"
                if f"increase({metric}" in rule["expr"]:
                    self.assertRegex(rule["expr"], rf"{metric}\S* unless {metric}\S* offset \d+[mh]", rule["alert"])

    def test_questions_are_no_failures(self) -> None:
        """Shares of 5xx leave out the questions whether a model is ready: 503 is an answer to them, not a failure."""
        asked = ("/v2/health/ready", "/v2/models/{name}/ready", "/v2/models/{name}/versions/{version}/ready")
        others = ("/v1/predict", "/v1/fraud/ready", "/v2/health/live", "/v2/models/{name}/infer", "other")
        queries = [*(each["expr"] for each in rules()), *(text for _, text in dashboard_queries())]
        shares = [text for text in queries if '5.."' in text]
        self.assertEqual(len(shares), 3)
        for text in shares:
            for selector in read(text).selectors:
                (left_out,) = [each.value for each in selector.matchers if each.label + each.operator == "route!~"]
                self.assertEqual(
                    [each for each in (*asked, *others) if re.fullmatch(left_out, each)], list(asked), text
                )


class MonitorTests(SynchronousTestCase):
    """openshift/service-monitor.yaml."""

    def test_services(self) -> None:
        """In each deployment variant, a monitor finds the service of each of our components, and of the broker."""
        monitors = {each["metadata"]["name"]: each["spec"] for each in document("service-monitor.yaml")}
        for world in worlds():
            found = {name: self.scraped(world.kind("Service"), spec) for name, spec in monitors.items()}
            self.assertEqual(set(world.components), set(found["provider-gateway"]), world.name)
            self.assertEqual(["rabbitmq"], found["rabbitmq"], world.name)

    @staticmethod
    def scraped(services: list[dict[str, Any]], spec: dict[str, Any]) -> list[str]:
        """The components whose services match a monitor's labels and port."""
        (port,) = {each["port"] for each in spec["endpoints"]}
        found = []
        for each in services:
            labels = each["metadata"]["labels"]
            wanted = spec["selector"]
            fits = wanted["matchLabels"].items() <= labels.items() and all(
                labels.get(one["key"]) in one["values"] for one in wanted.get("matchExpressions", [])
            )
            if fits and port in [one["name"] for one in each["spec"]["ports"]]:
                found.append(labels["app.kubernetes.io/component"])
        return found

    def test_names(self) -> None:
        """Our port is ``admin``, RabbitMQ's is ``prometheus``; intervals and timeouts are valid durations."""
        ports = {}
        for each in document("service-monitor.yaml"):
            self.assertEqual(("monitoring.coreos.com/v1", "ServiceMonitor"), (each["apiVersion"], each["kind"]))
            for endpoint in each["spec"]["endpoints"]:
                ports[each["metadata"]["name"]] = endpoint["port"]
                self.assertEqual("/metrics", endpoint["path"])
                self.assertTrue(is_duration(endpoint["interval"]) and is_duration(endpoint["scrapeTimeout"]))
        self.assertEqual({"provider-gateway": "admin", "rabbitmq": "prometheus"}, ports)


class ReaderTests(SynchronousTestCase):
    """The reader of queries itself."""

    def test_reads(self) -> None:
        """The reader finds selectors, matchers, ranges, functions and grouping labels."""
        query = read('sum by (le) (rate(a_bucket{b=~"x|y\\\\.z", c="$d"}[5m])) / on (e) f > 0.5')
        self.assertEqual([("a_bucket", "5m"), ("f", None)], [(each.metric, each.range) for each in query.selectors])
        self.assertEqual(["x|y\\.z", "$d"], [each.value for each in query.selectors[0].matchers])
        self.assertEqual(({"sum", "rate"}, {"le", "e"}), (set(query.functions), set(query.grouping)))

    def test_refuses(self) -> None:
        """The reader rejects text that is not a query."""
        for text in ("rate(a[5])", "a{b=c}", "sum(a", "a)", 'a{b=="c"}', "a offset b", "a @ c", "sum by le (a)"):
            self.assertRaises(QueryError, read, text)

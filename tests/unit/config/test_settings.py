"""Settings: names, defaults, aliases, precedence, and errors that name the variable and leak no secret."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from provider_gateway.config.found_files import find_queues
from provider_gateway.config.queue_file import BUILT_IN
from provider_gateway.config.settings import load_settings
from provider_gateway.errors import SettingsError
from tests.unit.config.base import RMQ_URL, SettingsTestCase

QUEUES = '- {topic: "", queueName: %s}\n'


class DefaultsTests(SettingsTestCase):
    """Settings with RMQ_URL only."""

    def test_documented_defaults(self) -> None:
        """The defaults are the documented ones."""
        settings = self.load()
        expected = {
            "http_tls": True,
            "model_timeout": 300,
            "reply_timeout": 90,
            "reply_queue_expires": 600,
            "max_in_flight": 1000,
            "max_body_bytes": 10485760,
            "cors_origins": (),
            "drain_timeout": 25,
            "log_level": "info",
        }
        for name, value in expected.items():
            self.assertEqual(value, getattr(settings, name), name)
        for name in ("http_crl", "model_cacert", "model_cert", "model_key", "access_log", "queues_conf"):
            self.assertIsNone(getattr(settings, name), name)
        self.assertEqual(("0.0.0.0", 5050), (settings.http_addr, settings.http_port))
        self.assertEqual(("0.0.0.0", 5080), (settings.admin_addr, settings.admin_port))
        self.assertEqual("http://webapp:8080/predict", settings.effective_model_url.reveal())
        self.assertEqual(["rabbitmq"], [url.host for url in settings.rmq_url])

    def test_instance(self) -> None:
        """INSTANCE is made unique for each process, even if several are given the same name."""
        first, second = self.load().instance, self.load().instance
        self.assertNotEqual(first, second)
        first, second = (self.load(INSTANCE="pod").instance for _ in range(2))
        self.assertTrue(first.startswith("pod-"), first)
        self.assertNotEqual(first, second)

    def test_certificates_where_the_seed_has_them(self) -> None:
        """Certificates come from the seed's gateway folder, or from its provider folder if only that has them."""
        settings = self.load()
        self.assertEqual(
            [self.gateway_certs / name for name in ("server_cert.pem", "server_key.pem", "trusted_crt.pem")],
            [settings.http_cert, settings.http_key, settings.http_cacert],
        )
        self.assertEqual(self.gateway_certs / "cacert_mq.pem", settings.mq_cacert)
        self.assertEqual((None, None), (settings.mq_cert, settings.mq_key))
        self.provider_certs.mkdir()
        names = ("cacert_mq.pem", "client_cert_mq.pem", "client_key_mq.pem")
        for name in names:
            (self.provider_certs / name).touch()
        settings = self.load()
        found = [settings.mq_cacert, settings.mq_cert, settings.mq_key]
        self.assertEqual([self.provider_certs / name for name in names], found)

    def test_frozen(self) -> None:
        """Settings cannot be changed."""
        self.assertRaises(ValidationError, setattr, self.load(), "http_port", 1)


class NamesTests(SettingsTestCase):
    """Sources of values, and their precedence."""

    def test_gin_aliases(self) -> None:
        """The seed's GIN_* variables set the HTTP_* settings; so does the template's GIN_CERT_KEY."""
        for variable, value, name, expected in (
            ("GIN_ADDR", "127.0.0.1", "http_addr", "127.0.0.1"),
            ("GIN_PORT", "8443", "http_port", 8443),
            ("GIN_HTTPS", "true", "http_tls", True),
            ("GIN_HTTPS", "false", "http_tls", False),
            ("GIN_CERT", "c.pem", "http_cert", Path("c.pem")),
            ("GIN_KEY", "k.pem", "http_key", Path("k.pem")),
            ("GIN_CERT_KEY", "k.pem", "http_key", Path("k.pem")),
        ):
            self.assertEqual(expected, getattr(self.load(**{variable: value}), name), f"{variable}={value}")

    def test_own_name_wins_over_alias(self) -> None:
        """HTTP_* wins over GIN_*, unless it is empty."""
        self.assertEqual(1, self.load(HTTP_PORT="1", GIN_PORT="2").http_port)
        self.assertEqual(2, self.load(HTTP_PORT="", GIN_PORT="2").http_port)

    def test_unknown_variables(self) -> None:
        """Unknown variables are ignored, among them the seed's GIN_MODE."""
        self.assertEqual(5050, self.load(GIN_MODE="release", HTTP_PROXY="x").http_port)

    def test_service_variables(self) -> None:
        """What Kubernetes sets for services named model, http, admin and gin counts as not set; a file's does not."""
        links = dict.fromkeys(("MODEL_PORT", "HTTP_PORT", "ADMIN_PORT", "GIN_PORT"), "tcp://10.0.0.7:80")
        settings = self.load(**links)
        self.assertEqual((8080, 5050, 5080), (settings.model_port, settings.http_port, settings.admin_port))
        settings = self.load(**{**links, "GIN_PORT": "7", "MODEL_PORT": "udp://[fd00::7]:80"})
        self.assertEqual((8080, 7), (settings.model_port, settings.http_port))
        Path(".env").write_text("MODEL_PORT=9000\nHTTP_PORT=1\n", encoding="utf-8")
        settings = self.load(**links)
        self.assertEqual((9000, 1), (settings.model_port, settings.http_port))
        Path(".env").write_text("MODEL_PORT=tcp://10.0.0.7:80\n", encoding="utf-8")
        self.assertIn("MODEL_PORT: expected a valid integer", self.refusal())

    def test_environment_wins_over_env_file(self) -> None:
        """``.env`` in the working directory is read; the environment wins over it."""
        Path(".env").write_text("HTTP_PORT=1\nADMIN_PORT=2\nGIN_ADDR='::1'\n# a comment\n", encoding="utf-8")
        settings = self.load(HTTP_PORT="3")
        self.assertEqual((3, 2, "::1"), (settings.http_port, settings.admin_port, settings.http_addr))

    def test_named_env_file(self) -> None:
        """A named env file is read in place of ``.env``."""
        Path(".env").write_text("HTTP_PORT=1\n", encoding="utf-8")
        (named := Path("other.env")).write_text(f"RMQ_URL={RMQ_URL}\nADMIN_PORT=2\n", encoding="utf-8")
        self.patch(os, "environ", {})
        settings = load_settings(named)
        self.assertEqual((5050, 2), (settings.http_port, settings.admin_port))

    def test_empty_is_unset(self) -> None:
        """An empty variable counts as unset."""
        settings = self.load(HTTP_PORT="", MODEL_HOST="", MQ_CERT="", MQ_KEY="", MODEL_URL="", LOG_LEVEL="")
        self.assertEqual((5050, None, "info"), (settings.http_port, settings.mq_cert, settings.log_level))
        self.assertEqual("http://webapp:8080/predict", settings.effective_model_url.reveal())
        self.assertIn("RMQ_URL: is required", self.refusal(RMQ_URL=""))

    def test_forms_of_values(self) -> None:
        """A log level may be in any case, a list has commas, seconds may have fractions."""
        settings = self.load(LOG_LEVEL="DEBUG", CORS_ORIGINS="https://a, https://b,", MODEL_TIMEOUT="0.5")
        found = (settings.log_level, settings.cors_origins, settings.model_timeout)
        self.assertEqual(("debug", ("https://a", "https://b"), 0.5), found)


class ModelURLTests(SettingsTestCase):
    """The URL of the model."""

    def test_what_it_is_made_of(self) -> None:
        """MODEL_URL wins, then MODEL_HOST, then the variable that MODEL_HOST_ENV names in capitals, then webapp."""
        named = {"MODEL_HOST_ENV": "fib_service_host", "FIB_SERVICE_HOST": "10.0.0.9"}
        for variables, expected in (
            ({"MODEL_HOST": "m", "MODEL_PORT": "81", "MODEL_PATH": "/query"}, "http://m:81/query"),
            (named, "http://10.0.0.9:8080/predict"),
            ({**named, "MODEL_HOST": ""}, "http://10.0.0.9:8080/predict"),
            ({**named, "MODEL_HOST": "m"}, "http://m:8080/predict"),
            ({**named, "MODEL_URL": "https://m.example/v2?x=1", "MODEL_HOST": "m"}, "https://m.example/v2?x=1"),
            ({"MODEL_HOST_ENV": "not_there"}, "http://webapp:8080/predict"),
        ):
            self.assertEqual(expected, self.load(**variables).effective_model_url.reveal(), repr(variables))


class RefusalTests(SettingsTestCase):
    """Errors for wrong settings."""

    def test_lines(self) -> None:
        """Each error begins with the variable and says what was expected and found."""
        for variable, value, part in (
            ("HTTP_PORT", "http", "expected a valid integer"),
            ("HTTP_PORT", "65536", "65535, found '65536'"),
            ("ADMIN_PORT", "-1", "0, found '-1'"),
            ("HTTP_TLS", "perhaps", "expected a valid boolean"),
            ("MODEL_URL", "model:8080", "expected http://"),
            ("MODEL_PATH", "predict", "begins with /"),
            ("MODEL_PORT", "0", "found '0'"),
            ("MODEL_TIMEOUT", "0", "expected greater than 0"),
            ("REPLY_TIMEOUT", "soon", "expected a valid number"),
            ("REPLY_QUEUE_EXPIRES", "0", "expected greater than or equal to 1"),
            ("REPLY_QUEUE_EXPIRES", "10min", "expected a valid number"),
            ("REPLY_QUEUE_EXPIRES", "inf", "expected"),
            ("REPLY_QUEUE_EXPIRES", "604801", "604800, found"),
            ("DRAIN_TIMEOUT", "-1", "expected greater than 0"),
            ("MAX_IN_FLIGHT", "0", "1, found '0'"),
            ("MAX_BODY_BYTES", "10MB", "expected a valid integer"),
            ("LOG_LEVEL", "verbose", "expected 'debug' or 'info', found 'verbose'"),
            ("INSTANCE", "a b", "found 'a b'"),
        ):
            line = self.refusal(**{variable: value})
            self.assertTrue(line.startswith(f"{variable}: "), f"{variable}={value} gives {line!r}")
            self.assertIn(part, line, f"{variable}={value}")

    def test_broker_url(self) -> None:
        """An error about RMQ_URL does not quote it: it may hold a password."""
        self.patch(os, "environ", {})
        self.assertEqual("RMQ_URL: is required and missing", str(self.assertRaises(SettingsError, load_settings)))
        for value, part in (
            ("http://user:hunter2@rabbit", "expected amqp://… or amqps://…"),
            ("amqps://user:hunter2@rabbit:x", "expected a host and a port"),
            ("amqp://user:hunter2/@rabbit", "percent-encode"),
            ("amqp://a,amqp://user:hunter2@", "expected a host name"),
            ("amqp://user:hunter2@rabbit?heartbeat=0", "expected heartbeat as seconds"),
        ):
            line = self.refusal(RMQ_URL=value)
            self.assertTrue(line.startswith("RMQ_URL: "), line)
            self.assertIn(part, line)

    def test_pairs(self) -> None:
        """A certificate without its key, or a key without its certificate, is an error that names both variables."""
        for cert, key in (("MQ_CERT", "MQ_KEY"), ("MODEL_CERT", "MODEL_KEY")):
            for alone in (cert, key):
                self.assertEqual(f"{cert} and {key}: expected both or neither", self.refusal(**{alone: "x.pem"}), alone)

    def test_several(self) -> None:
        """With several mistakes, the error has the first one and the number of the others."""
        line = self.refusal(HTTP_PORT="x", ADMIN_PORT="x", RMQ_URL="amqp://u:hunter2@")
        self.assertTrue(line.endswith("(and 2 more)"), line)

    def test_missing_env_file(self) -> None:
        """A named env file must exist; ``.env`` need not."""
        self.assertEqual("--env-file missing.env: no such file", self.refusal(Path("missing.env")))


class FindQueuesTests(SettingsTestCase):
    """The choice of the queue file."""

    def test_order(self) -> None:
        """The first of these is read: ``--queues``, QUEUES_CONF, conf/, configs/ (the seed's), the built-in entry."""
        plain, named = self.load(), self.load(QUEUES_CONF="b.yaml")
        self.assertEqual((BUILT_IN, "built-in"), find_queues(None, plain))
        steps = (
            (None, plain, "configs/queue_config.yaml"),
            (None, plain, "conf/queue_config.yaml"),
            (None, named, "b.yaml"),
            (Path("a.yaml"), named, "a.yaml"),
        )
        for number, (option, settings, path) in enumerate(steps):
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(QUEUES % f"q{number}", encoding="utf-8")
            entries, source = find_queues(option, settings)
            self.assertEqual((f"q{number}", path), (entries[0].queue_name, source))

    def test_named_file_must_be_there(self) -> None:
        """A named file that is missing is an error, even if there are other files."""
        Path("conf").mkdir()
        Path("conf/queue_config.yaml").write_text(QUEUES % "q", encoding="utf-8")
        for option, settings in ((Path("x.yaml"), self.load()), (None, self.load(QUEUES_CONF="x.yaml"))):
            line = str(self.assertRaises(SettingsError, find_queues, option, settings))
            self.assertTrue(line.startswith("x.yaml: "), line)


class QuotedNamesTests(SettingsTestCase):
    """Errors use the names that the user wrote, and quote nothing that may be secret."""

    def test_alias(self) -> None:
        """An error about GIN_PORT names GIN_PORT, not HTTP_PORT."""
        self.assertTrue(self.refusal(GIN_PORT="abc").startswith("GIN_PORT: expected a valid integer"))

    def test_model_url(self) -> None:
        """A login in MODEL_URL is an error that does not quote the value: a login would be shown in logs."""
        for url in ("https://u:hunter2@m/", "ftp://hunter2", "http://m /hunter2"):
            self.assertTrue(self.refusal(MODEL_URL=url).startswith("MODEL_URL: expected http:"), url)

    def test_seconds(self) -> None:
        """Times must be finite, and a week at most."""
        for seconds in ("inf", "nan", "0", "-1", "604801"):
            self.assertTrue(self.refusal(MODEL_TIMEOUT=seconds).startswith("MODEL_TIMEOUT: expected"), seconds)

    def test_result_store(self) -> None:
        """An error about RESULT_STORE does not quote it: it may hold a password."""
        for value, part in (
            ("mysql://user:hunter2@h", "expected sqlite:///path/results.db or postgresql://…"),
            ("sqlite://hunter2.db", "expected three slashes"),
            ("postgresql://user:hunter2/@h", "percent-encode"),
        ):
            line = self.refusal(RESULT_STORE=value)
            self.assertTrue(line.startswith("RESULT_STORE: "), line)
            self.assertIn(part, line)

    def test_short_lived_reply_queues(self) -> None:
        """With a result store, reply queues that expire before three times REPLY_TIMEOUT are a risk."""
        times = {"REPLY_QUEUE_EXPIRES": "269", "REPLY_TIMEOUT": "90"}
        (line,) = self.load(RESULT_STORE="sqlite:///r.db", **times).risks
        self.assertTrue(line.startswith("REPLY_QUEUE_EXPIRES (269 s) is less than 3 times REPLY_TIMEOUT (90 s)"), line)
        self.assertEqual([], self.load(**times).risks)
        for expires in ("270", "600"):
            settings = self.load(RESULT_STORE="sqlite:///r.db", **{**times, "REPLY_QUEUE_EXPIRES": expires})
            self.assertEqual([], settings.risks)

    def test_results(self) -> None:
        """The settings of results: defaults, those that follow from others, and ranges."""
        settings = self.load()
        found = (settings.result_store, settings.result_ttl, settings.idempotency_ttl)
        self.assertEqual((None, 86_400, 86_400), found)
        self.assertEqual((10_485_760, False), (settings.effective_result_max_bytes, settings.follows_cancellations))
        settings = self.load(RESULT_STORE="sqlite:///data/r.db", MAX_BODY_BYTES="77", RESULT_TTL="2592000")
        self.assertEqual(("sqlite:///data/r.db", 2_592_000), (str(settings.result_store), settings.result_ttl))
        self.assertEqual((77, True), (settings.effective_result_max_bytes, settings.follows_cancellations))
        settings = self.load(RESULT_STORE="sqlite:///r.db", RESULT_MAX_BYTES="5", CANCELLATIONS="false")
        self.assertEqual((5, False), (settings.effective_result_max_bytes, settings.follows_cancellations))
        self.assertTrue(self.load(CANCELLATIONS="true").follows_cancellations)
        for name, value in (
            *(("RESULT_TTL", "0"), ("RESULT_TTL", "inf"), ("RESULT_TTL", "31622401"), ("IDEMPOTENCY_TTL", "0")),
            *(("RESULT_MAX_BYTES", "0"), ("CANCELLATIONS", "maybe")),
        ):
            self.assertTrue(self.refusal(**{name: value}).startswith(f"{name}: expected"), (name, value))

    def test_env_file_of_another_encoding(self) -> None:
        """An env file that is not UTF-8 is an error that names the file."""
        path = self.folder / "broken.env"
        path.write_bytes(b"X=\xff\xfe\n")
        self.assertEqual(f"{path}: expected UTF-8", self.refusal(path))

"""Names of variables that are no settings: which ones stop the start, and which ones are warned of or left alone."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.settings import names_of_settings
from provider_gateway.config.variable_names import check_names, is_of_kubernetes, misspelt
from provider_gateway.errors import SettingsError

KNOWN = {name for names in names_of_settings() for name in names}


def pod_variables(service: str, address: str = "10.0.0.7", *ports: int) -> dict[str, str]:
    """What a pod gets for a service (Kubernetes, "Accessing Services", environment variables)."""
    name = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    first, *_ = ports = ports or (8080,)
    found = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(first),
        f"{name}_SERVICE_PORT_HTTP": str(first),
        f"{name}_PORT": f"tcp://{host}:{first}",
    }
    for port in ports:
        link = f"{name}_PORT_{port}_TCP"
        found |= {link: f"tcp://{host}:{port}", f"{link}_PROTO": "tcp", f"{link}_PORT": str(port)}
        found[f"{link}_ADDR"] = address
    return found


class MisspeltTests(SynchronousTestCase):
    """Names that stop the start."""

    def test_every_setting(self) -> None:
        """A letter that is missing, added, wrong or swapped is found in the name of every setting with a prefix."""
        for name in KNOWN:
            start = name.index("_") + 1 if "_" in name else 0
            if name[:start] not in {"ADMIN_", "GIN_", "HTTP_", "MODEL_", "MQ_", "RESULT_", "RMQ_"}:
                continue
            for wrong in (
                name[:-1],
                name + "X",
                name[:start] + "X" + name[start:],
                name[:start] + "XX" + name[start + 2 :],
                name[:start] + name[start + 1] + name[start] + name[start + 2 :],
                name.lower() + "_",
            ):
                if wrong in KNOWN:
                    continue
                found = misspelt({wrong: "x"}, KNOWN)
                self.assertEqual([wrong], list(found), name)
                self.assertIn(found[wrong], KNOWN)

    def test_line(self) -> None:
        """The error names the variable as it was written and the nearest setting, in one line. It tells no value."""
        for given, expected in (
            ({"HTTP_ACESS": "hunter2"}, "HTTP_ACESS: unknown variable, HTTP_ACCESS is probably meant"),
            ({"http_access_": "x"}, "http_access_: unknown variable, HTTP_ACCESS is probably meant"),
            ({"HTTP_ACCESS ": "x"}, "HTTP_ACCESS : unknown variable, HTTP_ACCESS is probably meant"),
            ({"HTTP_CACRET": "x"}, "HTTP_CACERT is probably meant"),
            ({"ADMIN_PROT": "1"}, "ADMIN_PORT is probably meant"),
            ({"MQ_URL": "x"}, "RMQ_URL is probably meant"),
            ({"MODEL_ULR": "x"}, "MODEL_URL is probably meant"),
            ({"RESULT_STOER": "x"}, "RESULT_STORE is probably meant"),
            ({"GIN_CRET": "x"}, "GIN_CERT is probably meant"),
            ({"HTTP_ACESS": "x", "HTTP_CLR": "x"}, "remove it; HTTP_CLR (HTTP_CRL is probably meant)"),
        ):
            line = str(self.assertRaises(SettingsError, check_names, given, KNOWN))
            self.assertIn(expected, line)
            self.assertNotIn("\n", line)
            self.assertNotIn("hunter2", line)

    def test_wrong_beginning(self) -> None:
        """Settings without which more callers get in are found by a misspelt beginning, too."""
        for name in ("HTPP_ACCESS", "HTTPACCESS", "HTTP-ACCESS", "HTTPS_ACCESS", "HTTPS_CRL", "TTP_ACESS"):
            self.assertEqual([name], list(misspelt({name: "x"}, KNOWN)))

    def test_longer_name(self) -> None:
        """An addition to a setting without which more callers get in stops the start, too: nobody reads the file."""
        for name, meant in (("HTTP_ACCESS_FILE", "HTTP_ACCESS"), ("http_access_path", "HTTP_ACCESS")):
            self.assertEqual({name: meant}, misspelt({name: "x"}, KNOWN))
        self.assertEqual({"HTTP_CRL_FILES": "HTTP_CRL"}, misspelt({"HTTP_CRL_FILES": "x"}, KNOWN))
        for given in (
            pod_variables("http-access"),
            pod_variables("http-crl"),
            pod_variables("http-access-service-host"),
        ):
            self.assertEqual([], check_names(given, KNOWN))

    def test_secrecy(self) -> None:
        """Nor is there a start if what was to be kept out of the log would be in it."""
        for name in ("LOG_MODEL_ERROR", "LOG_MODEL_ERRS", "LOGS_MODEL_ERROR", "LOG_MODEL_ERRORS_"):
            self.assertEqual({name: "LOG_MODEL_ERRORS"}, misspelt({name: "false"}, KNOWN))

    def test_used_names(self) -> None:
        """A name that is known for another reason is no misspelt one, in upper and lower case."""
        self.assertEqual([], check_names({"MODEL_KEYS": "x", "model_keys": "x"}, KNOWN | {"MODEL_KEYS"}))


class OtherNamesTests(SynchronousTestCase):
    """Names that do not stop the start."""

    def test_settings(self) -> None:
        """No setting is warned of, in upper or lower case."""
        self.assertEqual([], check_names(dict.fromkeys(KNOWN | {name.lower() for name in KNOWN}, "x"), KNOWN))

    def test_warnings(self) -> None:
        """What begins like a setting is warned of; so is what differs in one letter from a setting of any name."""
        for name, expected in (
            ("MODEL_NAME", "MODEL_NAME: unknown variable, which is ignored"),
            ("ADMIN_PASSWORD", "ADMIN_PASSWORD: unknown variable, which is ignored"),
            ("HTTP_USER_AGENT", "HTTP_USER_AGENT: unknown variable, which is ignored"),
            ("MAX_BODY_BYTE", "MAX_BODY_BYTE: unknown variable, which is ignored; MAX_BODY_BYTES is perhaps meant"),
            ("QUEUE_CONF", "QUEUE_CONF: unknown variable, which is ignored; QUEUES_CONF is perhaps meant"),
            ("MODLE_URL", "MODLE_URL: unknown variable, which is ignored; MODEL_URL is perhaps meant"),
        ):
            self.assertEqual([expected], check_names({name: "x"}, KNOWN))

    def test_of_others(self) -> None:
        """Variables of other programs are left alone."""
        for name in ("PATH", "HOME", "HOSTNAME", "http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GIN_MODE"):
            self.assertEqual([], check_names({name: "x"}, KNOWN), name)
        for name in ("SMTP_PORT", "FTP_PORT", "API_KEY", "DB_URL", "KUBERNETES_SERVICE_HOST", "RESULTS_SOAK_STORE"):
            self.assertEqual([], check_names({name: "x"}, KNOWN), name)

    def test_kubernetes(self) -> None:
        """What pods get for services is left alone, whatever the services' names, addresses and ports are."""
        for service in ("model", "http", "admin", "mq", "rmq", "result", "gin", "http-access", "model-host", "xhttp"):
            for address in ("10.0.0.7", "fd00::7"):
                given = pod_variables(service, address, 80, 8080)
                self.assertEqual([], check_names(given, KNOWN), service)
                for name, value in given.items():
                    self.assertTrue(is_of_kubernetes(name, value), name)
        self.assertTrue(is_of_kubernetes("MQ_PORT_5000_UDP_ADDR", "10.0.0.7"))
        self.assertTrue(is_of_kubernetes("MQ_PORT", "sctp://10.0.0.7:5000"))

    def test_not_kubernetes(self) -> None:
        """A name that only ends in PORT is one of Kubernetes only with an address."""
        for name, value in (("HTTP_PORTS", "tcp://1.2.3.4:5"), ("MQ_PORT", "5671"), ("MODEL_PORT", "80"), ("PORT", "")):
            self.assertFalse(is_of_kubernetes(name, value), name)
        self.assertRaises(SettingsError, check_names, {"MQ_PORT": "5671"}, KNOWN)

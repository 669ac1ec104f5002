"""The program accepts the environment of each pod, and the files that it names are mounted."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.queue_file import load_queues
from provider_gateway.config.settings import Settings, load_settings
from provider_gateway.demo.certificates import certificates
from provider_gateway.errors import SettingsError
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from tests.deployment.components import CALLERS_KEYS, LIMITS, SECRETS
from tests.deployment.manifests import ROLES, World, component_of, environment, pod, templates, worlds
from tests.support.certificates import authority, pem

#: The example certificates that replace tls.crt, tls.key and ca.crt of each secret.
STEMS = {
    "provider-gateway-https": ("server_cert.pem", "server_key.pem"),
    "provider-gateway-mq": ("client_cert_mq.pem", "client_key_mq.pem"),
    "provider-gateway-model": ("client_cert.pem", "client_key.pem"),
    "provider-gateway-models": ("", ""),
    "provider-gateway-results": ("", ""),
}
COMMON = {
    "INSTANCE": "",
    "MQ_CACERT": "/certs/mq/ca.crt",
    "MQ_CERT": "/certs/mq/tls.crt",
    "MQ_KEY": "/certs/mq/tls.key",
    "QUEUES_CONF": "/etc/provider-gateway/queue_config.yaml",
    "MAX_BODY_BYTES": "",
    "MAX_BUFFERED_BYTES": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_TRACES_SAMPLER": "",
    "OTEL_TRACES_SAMPLER_ARG": "",
    "DRAIN_TIMEOUT": "25",
    "WORKERS": "1",
    "LOG_LEVEL": "info",
}
#: From the secret of which every key is optional.
STORE = "sqlite:///data/results.db"
#: Parameters for files of the optional config map.
OF_CALLERS = ("HTTP_ACCESS", "HTTP_CRL")
#: What the secrets for models of the queue file's entries have in docs/openshift.md.
(MODELS_CA,) = SECRETS["provider-gateway-models"]
(MODELS_TOKEN,) = SECRETS["provider-gateway-model-headers"]
OF_ROLE = {
    "gateway": {
        "HTTP_CERT": "/certs/https/tls.crt",
        "HTTP_KEY": "/certs/https/tls.key",
        "HTTP_CACERT": "/certs/https/ca.crt",
        "HTTP_ACCESS": "",
        "HTTP_CRL": "",
        **dict.fromkeys(LIMITS, ""),
        "REPLY_TIMEOUT": "90",
        "RESULT_STORE": "",
        "RESULT_TTL": "86400",
    },
    "provider": {
        "MODEL_HOST": "model",
        "MODEL_PORT": "8080",
        "MODEL_PATH": "/predict",
        "MODEL_URL": "",
        "MODEL_READY_URL": "",
        "MODEL_CACERT": "",
        "MODEL_CERT": "",
        "MODEL_KEY": "",
        "MODEL_TIMEOUT": "300",
        "CANCELLATIONS": "true",
    },
}


def names_of_settings() -> set[str]:
    """Every variable that the program reads."""
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names |= set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {name.upper()}
    return names


class EnvironmentTests(SynchronousTestCase):
    """Each of our pods, in each deployment variant."""

    def setUp(self) -> None:
        self.pods: list[tuple[World, str, dict[str, Any]]] = [
            (world, str(component_of(workload)), pod(workload)["spec"])
            for world in worlds()
            for workload in world.workloads()
            if component_of(workload) in ROLES
        ]

    def test_variables(self) -> None:
        """The variables are those of the component's roles, with the defaults of parameter file and templates."""
        for world, component, spec in self.pods:
            expected = dict(COMMON)
            for role in ROLES[component]:
                expected |= OF_ROLE[role]
            found = {each["name"]: each.get("value", "") for each in spec["containers"][0]["env"]}
            self.assertEqual(found, expected, world.name)

    def test_broker(self) -> None:
        """RMQ_URL, which may hold a password, comes from the config map of RabbitMQ, or from a secret, which wins."""
        for _, _, spec in self.pods:
            *_, one, other = spec["containers"][0]["envFrom"]
            broker = {"name": "provider-gateway-broker", "optional": True}
            self.assertEqual((one, other), ({"configMapRef": broker}, {"secretRef": broker}))
            self.assertEqual(environment(spec["containers"][0])["RMQ_URL"], "amqps://rabbitmq:5671/")

    def test_password_login(self) -> None:
        """With empty MQ_CERT and MQ_KEY, the login is user and password, and of the secret only the CA is needed."""
        for number, (world, component, spec) in enumerate(self.pods):
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            for name in ("tls.crt", "tls.key"):
                (root / "certs/mq" / name).unlink()
            url = "amqps://user:hunter2@broker.example.org/ml"
            given = environment(spec["containers"][0]) | {"RMQ_URL": url, "MQ_CERT": "", "MQ_KEY": ""}
            settings = self.settings(given, root)
            self.assertEqual((settings.mq_cert, settings.rmq_url[0].user), (None, "user"))
            self.assertIsNotNone(
                load_credentials(Clock(), settings, ROLES[component], Metrics(), WALL_CLOCK).broker, component
            )

    def test_names(self) -> None:
        """The program reads every variable; none is set twice."""
        for world, _, spec in self.pods:
            names = [each["name"] for each in spec["containers"][0]["env"]]
            self.assertEqual(len(names), len(set(names)))
            self.assertLessEqual(set(names), names_of_settings(), world.name)

    def test_instance_is_the_pod(self) -> None:
        """INSTANCE is the pod's name, so that reply queues and connections can be distinguished at the broker."""
        for _, _, spec in self.pods:
            (instance,) = (each for each in spec["containers"][0]["env"] if each["name"] == "INSTANCE")
            self.assertEqual(instance["valueFrom"], {"fieldRef": {"fieldPath": "metadata.name"}})

    def test_store(self) -> None:
        """RESULT_STORE is a secret, which may be missing: then nothing is kept. SQLite's folder is the claim's."""
        for world, component, spec in self.pods:
            variables = {each["name"]: each for each in spec["containers"][0]["env"]}
            self.assertEqual("RESULT_STORE" in variables, "gateway" in ROLES[component])
            if component == "provider":
                continue
            reference = {"name": "provider-gateway-results", "key": "url", "optional": True}
            self.assertEqual(variables["RESULT_STORE"]["valueFrom"], {"secretKeyRef": reference})
            volumes = {each["name"]: each for each in spec["volumes"]}
            self.assertEqual("data" in volumes, component == "single")
            if component == "single":
                claim = world.named("PersistentVolumeClaim", volumes["data"]["persistentVolumeClaim"]["claimName"])
                self.assertEqual(claim["spec"]["accessModes"], ["ReadWriteOncePod"])
                (mount,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "data")
                self.assertEqual(mount, {"name": "data", "mountPath": "/data"})
                settings = self.settings(
                    environment(spec["containers"][0]) | {"RESULT_STORE": STORE},
                    self.mount(Path(self.mktemp()), world, spec),
                )
                assert settings.result_store is not None
                self.assertEqual(settings.result_store.path, Path("/data/results.db"))

    def test_files_are_mounted(self) -> None:
        """A variable that names a file names a key of the secret or config map that is mounted there."""
        for world, component, spec in self.pods:
            keys = mounted_files(world, spec)
            given = environment(spec["containers"][0])
            paths = {value for value in given.values() if value.startswith(("/certs/", "/etc/"))}
            self.assertLessEqual(paths, set(keys), f"{world.name} {component}")
            folders = {"/certs/mq", "/etc/provider-gateway"}
            folders |= {"/certs/https", "/certs/results"} if "gateway" in ROLES[component] else set()
            folders |= {"/certs/model", "/certs/models"} if "provider" in ROLES[component] else set()
            self.assertEqual({path.rpartition("/")[0] for path in keys}, folders)

    def test_program_accepts_it(self) -> None:
        """Settings, certificates and queue file load from the environment, with the mounts in a test folder."""
        for number, (world, component, spec) in enumerate(self.pods):
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            settings = self.settings(environment(spec["containers"][0]), root)
            self.assertEqual(str(settings.rmq_url[0]), "amqps://rabbitmq:5671/")
            assert settings.queues_conf is not None
            self.assertEqual([each.queue_name for each in load_queues(settings.queues_conf)], ["fib"])
            credentials = load_credentials(Clock(), settings, ROLES[component], Metrics(), WALL_CLOCK)
            self.assertEqual(credentials.server is not None, "gateway" in ROLES[component])
            self.assertEqual(credentials.model is not None, "provider" in ROLES[component])
            self.assertIsNotNone(credentials.broker)
            self.assertEqual(
                str(settings.effective_model_url), f"http://{settings.model_host or 'webapp'}:8080/predict"
            )

    def test_ports_are_the_programs(self) -> None:
        """The container's ports are those on which the program listens with this environment."""
        for number, (world, component, spec) in enumerate(self.pods):
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            settings = self.settings(environment(spec["containers"][0]), root)
            listening = {"admin": settings.admin_port}
            if "gateway" in ROLES[component]:
                listening["https"] = settings.http_port
            ports = {each["name"]: each["containerPort"] for each in spec["containers"][0]["ports"]}
            self.assertEqual(ports, listening, world.name)

    def test_https_model(self) -> None:
        """With the values in the templates' descriptions, the mounted certificate is used for an https model."""
        for number, (world, component, spec) in enumerate(self.pods):
            if "provider" not in ROLES[component]:
                continue
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            given = environment(spec["containers"][0]) | {
                "MODEL_URL": "https://model.example.org/predict",
                "MODEL_CACERT": "/certs/model/ca.crt",
                "MODEL_CERT": "/certs/model/tls.crt",
                "MODEL_KEY": "/certs/model/tls.key",
            }
            settings = self.settings(given, root)
            self.assertIsNotNone(load_credentials(Clock(), settings, ROLES[component], Metrics(), WALL_CLOCK).model)
            self.assertEqual(str(settings.effective_model_url), "https://model.example.org/predict")

    def mount(self, root: Path, world: World, spec: dict[str, Any]) -> Path:
        """Write the files that the pod would see, below a folder."""
        made = certificates(Path("deployment-certificates"))
        for path, (source, key) in mounted_files(world, spec).items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, str):
                names = dict(zip(("tls.crt", "tls.key"), STEMS[source], strict=True)) | {"ca.crt": "cacert.pem"}
                file.write_bytes((made / names.get(key, "cacert.pem")).read_bytes())
            else:
                file.write_text(source["data"][key])
        return root

    def test_callers(self) -> None:
        """With the values in the templates' descriptions, the mounted access file and revocation lists are used."""
        callers = authority("callers")
        for number, (world, component, spec) in enumerate(self.pods):
            if "gateway" not in ROLES[component]:
                continue
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            (mount,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "callers")
            folder = root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True)
            (folder / "access.yaml").write_text('- {identities: ["*"], routingKeys: ["predict.*"]}')
            (folder / "crl.pem").write_bytes(callers.revocation_list())
            (root / "certs/https/ca.crt").write_bytes(pem(callers.certificate))
            given = environment(spec["containers"][0]) | {name: self.described(component, name) for name in OF_CALLERS}
            paths = {f"{mount['mountPath']}/{key}" for key in CALLERS_KEYS}
            self.assertEqual(paths, {given[name] for name in OF_CALLERS})
            credentials = load_credentials(Clock(), self.settings(given, root), ROLES[component], Metrics(), WALL_CLOCK)
            assert credentials.server is not None
            assert credentials.access_rules is not None
            (folder / "access.yaml").unlink()
            with self.assertRaisesRegex(SettingsError, "HTTP_ACCESS"):
                load_credentials(Clock(), self.settings(given, root), ROLES[component], Metrics(), WALL_CLOCK)

    def described(self, component: str, name: str) -> str:
        """The path in the description of a template's parameter."""
        (parameter,) = (each for each in templates()[component]["parameters"] if each["name"] == name)
        return str(re.findall(r"/etc/\S+\.\w+", parameter["description"])[0])

    def test_model_of_an_entry(self) -> None:
        """An entry's model may have files of the secret for models, and headers from the one for variables."""
        entry = f"""\
- topic: ML.MQ
  queueName: images
  bindingKey: predict.image
  model:
    url: https://images.example.org/predict
    cacert: {{root}}/certs/models/{MODELS_CA}
    headers: {{{{Authorization: "Bearer ${{{{{MODELS_TOKEN}}}}}"}}}}
"""
        for number, (world, component, spec) in enumerate(self.pods):
            root = self.mount(Path(self.mktemp()) / str(number), world, spec)
            queues = root / "etc/provider-gateway/queue_config.yaml"
            queues.write_text(entry.format(root=root))
            given = environment(spec["containers"][0])
            secrets = [each["secretRef"] for each in spec["containers"][0]["envFrom"] if "secretRef" in each]
            headers = {"name": "provider-gateway-model-headers", "optional": True}
            self.assertEqual(headers in secrets, "provider" in ROLES[component])
            if "provider" not in ROLES[component]:
                continue
            settings = self.settings(given | {MODELS_TOKEN: "s3cret"}, root)
            of_models: Any = {"entries": load_queues(queues), "variables": os.environ}
            credentials = load_credentials(Clock(), settings, ROLES[component], Metrics(), WALL_CLOCK, **of_models)
            self.assertEqual(credentials.models["images"].headers, {"Authorization": "Bearer s3cret"})

    def settings(self, given: dict[str, str], root: Path) -> Settings:
        """The settings that the program reads only from an environment, with its files below a folder."""
        in_root = {
            name: f"{root}{each}" if each.startswith(("/certs/", "/etc/")) else each for name, each in given.items()
        }
        self.patch(os, "environ", in_root)
        nothing = root / "nothing.env"
        nothing.touch()
        return load_settings(nothing)


def mounted_files(world: World, spec: dict[str, Any]) -> dict[str, tuple[str | dict[str, Any], str]]:
    """The files in a pod's first container: path, and origin (secret or config map, and key)."""
    sources: dict[str, tuple[str | dict[str, Any], set[str]]] = {}
    for volume in spec["volumes"]:
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            items = {each["key"] for each in volume["secret"].get("items", [])}
            sources[volume["name"]] = (name, items or SECRETS[name])
        elif "configMap" in volume and not volume["configMap"].get("optional"):
            config = world.named("ConfigMap", volume["configMap"]["name"])
            sources[volume["name"]] = (config, set(config["data"]))
    return {
        f"{mount['mountPath']}/{key}": (sources[mount["name"]][0], key)
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in sources
        for key in sources[mount["name"]][1]
    }

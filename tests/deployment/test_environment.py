"""The program accepts the environment of each pod, and the files that it names are mounted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.queue_file import load_queues
from provider_gateway.config.settings import Settings, load_settings
from provider_gateway.demo.certificates import certificates
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from tests.deployment.components import SECRETS
from tests.deployment.manifests import ROLES, World, component_of, environment, pod, worlds

#: The example certificates that replace tls.crt, tls.key and ca.crt of each secret.
STEMS = {
    "provider-gateway-https": ("server_cert.pem", "server_key.pem"),
    "provider-gateway-mq": ("client_cert_mq.pem", "client_key_mq.pem"),
    "provider-gateway-model": ("client_cert.pem", "client_key.pem"),
    "provider-gateway-results": ("", ""),
}
COMMON = {
    "INSTANCE": "",
    "RMQ_URL": "amqps://rabbitmq:5671/",
    "MQ_CACERT": "/certs/mq/ca.crt",
    "MQ_CERT": "/certs/mq/tls.crt",
    "MQ_KEY": "/certs/mq/tls.key",
    "QUEUES_CONF": "/etc/provider-gateway/queue_config.yaml",
    "DRAIN_TIMEOUT": "25",
    "WORKERS": "1",
    "LOG_LEVEL": "info",
}
#: From the secret of which every key is optional.
STORE = "sqlite:///data/results.db"
OF_ROLE = {
    "gateway": {
        "HTTP_CERT": "/certs/https/tls.crt",
        "HTTP_KEY": "/certs/https/tls.key",
        "HTTP_CACERT": "/certs/https/ca.crt",
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
            folders |= {"/certs/model"} if "provider" in ROLES[component] else set()
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
                file.write_bytes((made / names[key]).read_bytes())
            else:
                file.write_text(source["data"][key])
        return root

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
        elif "configMap" in volume:
            config = world.named("ConfigMap", volume["configMap"]["name"])
            sources[volume["name"]] = (config, set(config["data"]))
    return {
        f"{mount['mountPath']}/{key}": (sources[mount["name"]][0], key)
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in sources
        for key in sources[mount["name"]][1]
    }

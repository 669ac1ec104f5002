"""The command line of ``twistd provider-gateway``."""

from __future__ import annotations

import sys
from typing import NoReturn

from twisted.python import usage

from provider_gateway import __version__
from provider_gateway.config.settings import ROLES, Role
from provider_gateway.errors import SettingsError


class Options(usage.Options):
    """Command line of ``twistd provider-gateway``. All other settings are in the environment."""

    synopsis = "[options]"
    longdesc = "HTTPS and AMQP in, machine-learning model out. Settings: environment and .env, see docs/settings.md."
    optFlags = [  # noqa: RUF012 - twisted.python.usage reads the list
        ["check", None, "Validate the settings, print the effective ones with secrets masked, and exit"],
        ["openapi", None, "Print the OpenAPI document of the HTTPS listener, and exit"],
        ["demo", None, "Try it out: embedded broker, sample model and certificates, in this process, on this machine"],
        ["connect", None, "With --check: also try broker, topology and model, and say what differs"],
    ]
    optParameters = [  # noqa: RUF012 - likewise
        ["role", None, ",".join(ROLES), "Roles of this process, separated by commas"],
        [
            "queues",
            None,
            None,
            "Queue file (default: QUEUES_CONF, conf/queue_config.yaml, configs/queue_config.yaml)",
        ],
        ["demo-folder", None, ".demo", "With --demo: where its certificates and its log go"],
        ["env-file", None, None, "File with environment variables (default: .env, if there is one)"],
        [
            "worker",
            None,
            None,
            "Number of this worker: given by the process that WORKERS starts it from, not by hand",
            int,
        ],
    ]

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        sys.stdout.write(f"provider-gateway {__version__}\n")
        raise SystemExit(0)

    def for_worker(self) -> list[str]:
        """The command line of a worker, without its number."""
        given = (("--role", self["role"]), ("--queues", self["queues"]), ("--env-file", self["env-file"]))
        return [part for name, value in given if value is not None for part in (name, value)]

    def roles(self) -> list[Role]:
        """The roles that ``--role`` names.

        Raises:
            SettingsError: there is none, or one is unknown.
        """
        names = [name.strip() for name in self["role"].split(",") if name.strip()]
        roles = [role for role in ROLES if role in names]
        if not roles or len(roles) != len(set(names)):
            msg = f"--role: expected {' or '.join(ROLES)} or both, separated by a comma; found {self['role']!r}"
            raise SettingsError(msg)
        return roles

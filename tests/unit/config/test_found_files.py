"""The variables that are found, and their names."""

from __future__ import annotations

import os
from pathlib import Path

from provider_gateway.config.found_files import check_variables, find_variables, load_named_settings
from provider_gateway.config.queue_file import BUILT_IN, parse_queues
from provider_gateway.errors import SettingsError
from tests.unit.config.base import RMQ_URL, SettingsTestCase


class FindVariablesTests(SettingsTestCase):
    """``find_variables``."""

    def test_order(self) -> None:
        """The environment wins over the env file; empty variables count as not set, and names keep their case."""
        self.patch(os, "environ", {"A": "environment", "B": "", "c": "small"})
        self.assertEqual(find_variables(), {"A": "environment", "c": "small"})
        Path(".env").write_text("A=file\nB=file\nC='two words'\nD=\n", encoding="utf-8")
        self.assertEqual(find_variables(), {"A": "environment", "B": "file", "C": "two words", "c": "small"})
        Path("other.env").write_text("E=e\n", encoding="utf-8")
        self.assertEqual(find_variables(Path("other.env")), {"A": "environment", "c": "small", "E": "e"})


class CheckVariablesTests(SettingsTestCase):
    """``check_variables`` and ``load_named_settings``."""

    def test_names_in_use(self) -> None:
        """The queue file's headers and MODEL_HOST_ENV may name variables that look like misspelt settings."""
        given = {"MODEL_KEYS": "x", "MODEL_HOSTS": "m"}
        line = str(self.assertRaises(SettingsError, check_variables, given, BUILT_IN))
        self.assertTrue(line.startswith("MODEL_KEYS: unknown variable, MODEL_KEY is probably meant"), line)
        text = '[{topic: "", queueName: q, model: {url: "http://m/", headers: {A: "${Model_Keys} x", B: "${C}"}}}]'
        entries = parse_queues(text, "f")
        line = str(self.assertRaises(SettingsError, check_variables, given, entries))
        self.assertTrue(line.startswith("MODEL_HOSTS: unknown variable, MODEL_HOST is probably meant"), line)
        for name in ("MODEL_HOST_ENV", "model_host_env"):
            self.assertEqual([], check_variables({**given, name: "model_hosts\n"}, entries))

    def test_misspelt_and_missing(self) -> None:
        """If a required setting is misspelt, the error is about the name that is there, also in a file."""
        for variables, file in (({"RMQ_ULR": RMQ_URL}, "A=b\n"), ({}, f"RMQ_ULR={RMQ_URL}\n")):
            Path(".env").write_text(file, encoding="utf-8")
            self.patch(os, "environ", variables)
            line = str(self.assertRaises(SettingsError, load_named_settings))
            self.assertTrue(line.startswith("RMQ_ULR: unknown variable, RMQ_URL is probably meant"), line)

    def test_misspelt_beside_missing(self) -> None:
        """If a required setting is missing, the line tells of another misspelt name, too."""
        self.patch(os, "environ", {"HTTP_ACESS": "x"})
        line = str(self.assertRaises(SettingsError, load_named_settings))
        told = "RMQ_URL: is required and missing; HTTP_ACESS: unknown variable, HTTP_ACCESS is probably meant"
        self.assertTrue(line.startswith(told), line)
        self.assertNotIn("\n", line)

    def test_another_error(self) -> None:
        """An error that has nothing to do with a misspelt name stays as it is."""
        for variables, expected in (
            ({"RMQ_URL": "x", "RMQ_ULR": RMQ_URL}, "RMQ_URL: expected amqp"),
            ({"MODEL_KEYS": "x"}, "RMQ_URL: is required"),
            ({"RMQ_URL": RMQ_URL, "HTTP_PORT": "x", "HTTP_PROT": "1"}, "HTTP_PORT: expected a valid integer"),
        ):
            self.patch(os, "environ", variables)
            self.assertIn(expected, str(self.assertRaises(SettingsError, load_named_settings)))
        Path(".env").write_bytes(b"\xff=1\n")
        self.assertIn(".env: expected UTF-8", str(self.assertRaises(SettingsError, load_named_settings)))

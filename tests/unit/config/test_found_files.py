"""The variables that headers of models are made of."""

from __future__ import annotations

import os
from pathlib import Path

from provider_gateway.config.found_files import find_variables
from tests.unit.config.base import SettingsTestCase


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

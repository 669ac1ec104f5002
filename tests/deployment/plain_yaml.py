"""Writes objects as YAML in the form of the files that are written by hand."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Indents lists, and writes no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(objects: list[Any]) -> str:
    """The objects as YAML documents."""
    text: str = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120)
    return text

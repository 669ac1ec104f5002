"""What our own source binds, imports, and uses on ``self``; read as syntax trees."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.support.name_finder.foreign import is_private, mangled

if TYPE_CHECKING:
    from collections.abc import Iterator


def looks_away(text: str) -> list[int]:
    """Lines that go on without a private name if it is not there: ``getattr(a, "_b", None)``, ``hasattr(a, "_b")``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3))
        and is_private(text_of(node.args[1]))
    ]


def text_of(node: ast.AST) -> str:
    """The text that a node is; empty if it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def verb_of(node: ast.Attribute) -> str:
    """What is done with an attribute: "read", "set" or "deleted"."""
    return {ast.Store: "set", ast.Del: "deleted"}.get(type(node.ctx), "read")


def imported(node: ast.AST) -> list[str]:
    """The full names that an import names."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        return [f"{prefix}{alias.name}" for alias in node.names]
    return []


def bindings(node: ast.AST) -> dict[str, str]:
    """What an import binds: names, and the full names of what they stand for."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return {}
    found: dict[str, str] = {}
    for alias, path in zip(node.names, imported(node), strict=True):
        if alias.asname or isinstance(node, ast.ImportFrom):
            found[alias.asname or alias.name] = path
        else:
            found[path.partition(".")[0]] = path.partition(".")[0]
    return found


def class_nodes(tree: ast.AST, outer: tuple[str, ...] = ()) -> Iterator[tuple[ast.ClassDef, tuple[str, ...]]]:
    """The classes of a module, each with the names of the classes and functions around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield node, outer
            yield from class_nodes(node, (*outer, node.name))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from class_nodes(node, (*outer, node.name))


def bound(node: ast.AST) -> list[str]:
    """The names that a statement of a module or a class binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return []  # for the type checker
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [
        each.id
        for target in targets
        if target is not None
        for each in ast.walk(target)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    ]


def names_in(node: ast.ClassDef) -> Iterator[tuple[str, ast.AST, str]]:
    """The names that a class binds in its body, and uses on itself in its methods; where, and how."""
    for each in node.body:
        for name in bound(each):
            yield mangled(name, node.name), each, "overridden"
            if name == "__slots__":
                assert isinstance(each, ast.Assign)
                for part in ast.walk(each.value):
                    if slot := text_of(part):
                        yield mangled(slot, node.name), part, "set"
        is_static = any(isinstance(part, ast.Name) and part.id == "staticmethod" for part in _decorators(each))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.args.args and not is_static:
            own = each.args.args[0].arg
            for part in ast.walk(each):
                if isinstance(part, ast.Attribute) and _is_self(part.value, own):
                    yield mangled(part.attr, node.name), part, verb_of(part)


def _decorators(node: ast.AST) -> list[ast.expr]:
    return getattr(node, "decorator_list", [])


def _is_self(node: ast.AST, own: str) -> bool:
    """True for ``self``, and for ``super()``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id == own

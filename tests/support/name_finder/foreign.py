"""What names the classes of other packages have, and which of them their packages document."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from functools import cache
from typing import TYPE_CHECKING

from zope.interface import implementedBy

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_private(name: str) -> bool:
    """True if a name begins with an underscore and is not one of Python's own, such as ``__init__``."""
    return name.startswith("_") and name.strip("_") != "" and not (name.startswith("__") and name.endswith("__"))


def mangled(name: str, class_name: str) -> str:
    """A name as Python stores it: ``__x`` in the class ``Y`` is ``_Y__x``."""
    is_mangled = name.startswith("__") and not name.endswith("__")
    return f"_{class_name.lstrip('_')}{name}" if is_mangled else name


def is_standard(module: str) -> bool:
    """True for a module of the standard library."""
    return module.partition(".")[0] in sys.stdlib_module_names


def path_of(kind: type) -> str:
    """The full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _source(kind: type) -> ast.Module:
    """The source of one class; empty if it is written in C, or was made when the program ran."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return ast.parse("")


@cache
def names_of(kind: type) -> frozenset[str]:
    """The names that one class defines: in its body, as its slots, and on ``self`` in its methods."""
    names = {*vars(kind), *vars(kind).get("__annotations__", ())}
    for method in ast.walk(_source(kind)):
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.args.args:
            own = method.args.args[0].arg
            names |= {
                mangled(each.attr, kind.__name__)
                for each in ast.walk(method)
                if isinstance(each, ast.Attribute)
                and isinstance(each.ctx, ast.Store)
                and isinstance(each.value, ast.Name)
                and each.value.id == own
            }
    return frozenset(names)


@cache
def _names_with_text(kind: type) -> frozenset[str]:
    """The names in the body of a class that are followed by a text."""
    body = [each for node in ast.walk(_source(kind)) if isinstance(node, ast.ClassDef) for each in node.body]
    return frozenset(
        name.id
        for each, text in itertools.pairwise(body)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        for name in ast.walk(each)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    )


def is_documented(name: str, kinds: Iterable[type]) -> bool:
    """True if one of some classes documents a name.

    A class does so with the docstring of a method or property, with an entry in its own docstring (epytext, Sphinx or
    Google style), with a text behind the attribute, or by an interface that it implements.
    """
    entry = re.compile(rf"(?m)^\s*([@:]([ic]?var|type)\s+{name}\b|{name}\s*(\([^)]*\))?:)")
    return any(
        (
            (isinstance(value := vars(kind).get(name), property | classmethod | staticmethod) or callable(value))
            and bool(value.__doc__)
        )
        or entry.search(kind.__doc__ or "") is not None
        or name in _names_with_text(kind)
        or any(name in interface for interface in implementedBy(kind).flattened())
        for kind in kinds
    )

"""Private and undocumented names of other packages: each one that we use is listed, and is what we rely on."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from types import ModuleType

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.support.name_finder.finder import Finder, Finding, sources_of
from tests.support.name_finder.foreign import is_private, names_of
from tests.support.name_finder.syntax import looks_away
from tests.support.private_names import NAMES, PRIVATE

PACKAGE = "provider_gateway"
#: Stands for a package of somebody else.
THEIRS = '''
class Base:
    """A base class.

    Attributes:
        told: is documented.
    """

    _in_body = 1
    plain = 1

    def __init__(self):
        self._on_self = self.told = self.__mangled = 0

    def _method(self):
        pass

    def documented(self):
        """Do nothing."""
'''


def parameters(signature: inspect.Signature) -> inspect.Signature:
    """A signature without annotations."""
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)


@cache
def searched() -> tuple[dict[str, str], list[Finding]]:
    """Our sources, and what is found in them."""
    sources = sources_of(PACKAGE)
    return sources, Finder(sources, PACKAGE).find()


class ListTests(SynchronousTestCase):
    """The list, our source and the installed packages agree."""

    def setUp(self) -> None:
        self.sources, self.found = searched()

    def test_all_are_listed(self) -> None:
        """No module uses a private or undocumented name that the list does not explain."""
        listed = {(each.owner, each.name) for each in NAMES}
        names = {each.name for each in NAMES}
        missing = [
            each
            for each in self.found
            if (each.owner, each.name) not in listed and (each.owner or each.name not in names)
        ]
        self.assertEqual([], list(map(str, missing)), "Avoid them, or explain them in tests/support/private_names.py.")

    def test_all_are_used(self) -> None:
        """The list has no name that is not used any more."""
        found = {name for each in self.found for name in ((each.owner, each.name), each.name)}
        for each in NAMES:
            if each.module is None:
                self.assertTrue({(each.owner, each.name), each.name} & found, each)
            else:
                nodes = ast.walk(ast.parse(self.sources[each.module]))
                names = {getattr(node, "attr", getattr(node, "name", None)) for node in nodes}
                self.assertIn(each.name, names, each)

    def test_nothing_looks_away(self) -> None:
        """A name that may be gone is never looked up with a default: what checks nothing must fail, not pass."""
        lines = [f"{module}, line {line}" for module, text in self.sources.items() for line in looks_away(text)]
        self.assertEqual([], lines)

    def test_all_exist(self) -> None:
        """Each name is there in the installed version, with the signature or the type that we rely on."""
        for each in NAMES:
            owner = namedAny(each.owner)
            if each.signature is not None:
                self.assertEqual(each.signature, str(parameters(inspect.signature(getattr(owner, each.name)))), each)
                continue
            if each.name != "__class__":
                self.assertIn(each.name, vars(owner) if isinstance(owner, ModuleType) else names_of(owner), each)
            if each.kind is None:
                continue
            value = getattr(owner if each.of is None else each.of(), each.name)
            self.assertIsInstance(value, each.kind, each)

    def test_all_private_are_private(self) -> None:
        """What is listed as private is."""
        for each in PRIVATE:
            self.assertTrue(is_private(each.name) or each.name == "__class__", each)
            self.assertTrue(each.why and (each.signature or each.kind), each)


class FinderTests(SynchronousTestCase):
    """What the finder sees, in a package that is made up."""

    def setUp(self) -> None:
        self.module("theirs", THEIRS)

    def module(self, name: str, text: str) -> None:
        module = ModuleType(name)
        module.__file__ = self.mktemp()
        with open(module.__file__, "w", encoding="utf-8") as file:
            file.write(text)
        sys.modules[name] = module
        self.addCleanup(sys.modules.pop, name, None)
        exec(compile(text, module.__file__, "exec"), module.__dict__)

    def find(self, text: str) -> list[tuple[str, str, str]]:
        """What is found in the text of a module: owners, names, and how they are used."""
        text = f"import theirs\n{text}"
        self.module("ours", text)
        return [(each.owner, each.name, each.how) for each in Finder({"ours": text}, "ours").find()]

    def in_class(self, body: str) -> list[tuple[str, str, str]]:
        return self.find(f"class Mine(theirs.Base):\n    {body}\n")

    def test_on_self(self) -> None:
        """Private names of a base class are found where they are read, set, deleted, overridden or made slots."""
        for body, name, how in (
            ("def f(self): return self._in_body", "_in_body", "read"),
            ("def f(self): return super()._on_self", "_on_self", "read"),
            ("def f(self): return [lambda: self._on_self]", "_on_self", "read"),
            ("def f(self): self._on_self = 1", "_on_self", "set"),
            ("def f(self): self._on_self += 1", "_on_self", "set"),
            ("def f(self): del self._on_self", "_on_self", "deleted"),
            ("def f(self): self._Base__mangled = 1", "_Base__mangled", "set"),
            ("def _method(self): pass", "_method", "overridden"),
            ("_in_body = 2", "_in_body", "overridden"),
            ('__slots__ = ("_on_self",)', "_on_self", "set"),
            ("@classmethod\n    def f(cls): return cls._method", "_method", "read"),
        ):
            self.assertEqual([("theirs.Base", name, how)], self.in_class(body), body)

    def test_undocumented(self) -> None:
        """A public name of a base class is found if the class says nothing of it."""
        self.assertEqual([("theirs.Base", "plain", "read")], self.in_class("def f(self): return self.plain"))
        self.assertEqual([], self.in_class("def f(self): return self.told, self.documented()"))
        self.assertEqual([], self.in_class("def documented(self): pass"))

    def test_own_names(self) -> None:
        """Private names that are ours are not found."""
        body = "_mine = 1\n    def f(self): self._other = self._mine; self.__third = 1; return self.__third"
        self.assertEqual([], self.in_class(body))
        self.assertEqual([], self.find("_x = 1\nclass A:\n    def f(self, a): self._y = a._y\n"))

    def test_unknown(self) -> None:
        """A private name on `self` that nobody defines is found, too: a base class may have lost it."""
        self.assertEqual([("", "_gone", "read")], self.in_class("def f(self): return self._gone"))

    def test_mixin(self) -> None:
        """A class without a base is searched as what it is mixed into."""
        mixin = "class Mixin:\n    def f(self): return self._in_body\nclass Mine(Mixin, theirs.Base): pass\n"
        self.assertEqual([("theirs.Base", "_in_body", "read")], self.find(mixin))

    def test_init_is_not_called(self) -> None:
        """An `__init__` that does without that of the base class is found."""
        self.assertEqual([("theirs.Base", "__init__", "not called")], self.in_class("def __init__(self): pass"))
        self.assertEqual([], self.in_class("def __init__(self): super().__init__()"))

    def test_elsewhere(self) -> None:
        """Private names of other objects, and of modules, are found; so are patches, and a class that is exchanged."""
        for text, expected in (
            ("def f(a): return a._in_body", ("", "_in_body", "read")),
            ("def f(a): a.b._in_body = 1", ("", "_in_body", "set")),
            ("def f(): return theirs._x", ("theirs", "_x", "read")),
            ("def f(a): return getattr(a, '_in_body')", ("", "_in_body", "looked up")),
            ("def f(a): setattr(a, '_in_body', 1)", ("", "_in_body", "looked up")),
            ("def f(a): a.__class__ = theirs.Base", ("", "__class__", "set")),
            ("def f(): theirs.table['a'] = 1", ("theirs", "table", "patched")),
            ("def f(): theirs.Base.plain = 1", ("theirs.Base", "plain", "patched")),
            ("from theirs import Base\ndef f(): Base.plain = 1", ("theirs.Base", "plain", "patched")),
            ("NAMESPACE = 'theirs.deep._private'", ("theirs.deep", "_private", "looked up")),
            ("def f():\n    from theirs import _x", ("theirs", "_x", "imported")),
            ("def f():\n    import theirs._x", ("theirs", "_x", "imported")),
        ):
            self.assertEqual([expected], self.find(text), text)

    def test_documented_by_python(self) -> None:
        """Names that Python documents in spite of their underscore are not found."""
        self.assertEqual([], self.find("import os\ndef f(): os._exit(1)"))

    def test_looks_away(self) -> None:
        """Look-ups with a default and `hasattr` are found, if the name is private."""
        for text, lines in (
            ("getattr(a, '_b', None)", [1]),
            ("hasattr(a, '_b')", [1]),
            ("getattr(a, '_b')", []),
            ("getattr(a, 'b', None)", []),
            ("hasattr(a, '__len__')", []),
        ):
            self.assertEqual(lines, looks_away(text), text)

    def test_hidden_class(self) -> None:
        """A class inside a function, whose bases cannot be looked up, is an error and not skipped."""
        with self.assertRaises(TypeError):
            self.find("def f():\n    class Hidden(theirs.Base): pass")

"""
The layers: who may import whom, read from the source with C{ast}.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent

NOUNS = ("vnet.errors", "vnet.interfaces", "vnet.values")
# Clocks, sockets and randomness: a machine gets them as arguments.
EFFECTS = (
    *(
        "asyncio",
        "datetime",
        "multiprocessing",
        "select",
        "selectors",
        "signal",
        "socket",
        "socketserver",
        "ssl",
    ),
    *("nacl.utils", "os", "random", "secrets", "subprocess", "threading", "time", "twisted", "uuid"),
)


@attrs.frozen
class Rule:
    """
    What modules may import.

    @ivar sentence: the rule in words, for the message of a failure.
    @ivar modules: where it holds: names of modules and packages, and everything below them.
    @ivar only: L{None}, or the only names (and what is below them) that may be imported beside the standard
        library.
    @ivar never: names that may not be imported, nor anything below them.
    """

    sentence: str
    modules: tuple[str, ...]
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()

    def holdsFor(self, module: str) -> bool:
        return isBelow(module, self.modules)

    def allows(self, imported: str) -> bool:
        if isBelow(imported, self.never):
            return False
        return self.only is None or isBelow(imported, self.only) or isStandard(imported)


RULES = [
    Rule(
        "errors, values and interfaces import nothing of ours",
        ("vnet.errors", "vnet.interfaces"),
        never=("vnet",),
    ),
    Rule("values import nothing of ours but errors", ("vnet.values",), only=("attr", "attrs", "vnet.errors")),
    Rule(
        "a codec imports the standard library, attrs, errors, values and codecs",
        ("vnet.protocols.codec",),
        only=("attr", "attrs", "vnet.errors", "vnet.values", "vnet.protocols.codec"),
        never=("asyncio", "socket.socket", "time", "random", "secrets", "os"),
    ),
    Rule(
        "a machine imports codecs, machines, nouns and cryptography: no Twisted, socket, clock or randomness",
        ("vnet.protocols.machine",),
        only=(
            *("attr", "attrs", "automat", "cryptography", "nacl", "zope.interface"),
            *(*NOUNS, "vnet.protocols.codec", "vnet.protocols.machine"),
        ),
        never=EFFECTS,
    ),
    Rule(
        "a protocol can be embedded alone: it never imports client or server",
        ("vnet.protocols", "vnet.driver"),
        never=("vnet.client", "vnet.server"),
    ),
    Rule("the client never imports the server", ("vnet.client",), never=("vnet.server",)),
    Rule("the server never imports the client", ("vnet.server",), never=("vnet.client",)),
    Rule(
        "what users run never imports the tests",
        ("vnet.protocols", "vnet.driver", "vnet.client", "vnet.server", *NOUNS),
        never=("vnet.test", "pytest", "hypothesis"),
    ),
]


def isBelow(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(top + ".") for top in tops)


def isStandard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def importedNames(node: ast.AST, module: str, isPackage: bool) -> Iterator[str]:
    """
    The absolute dotted names that one statement imports: C{from a import b} gives C{a.b}.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = module.split(".")
            here = parts[: len(parts) - node.level + isPackage]
            base = ".".join([*here, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def atImport(node: ast.AST) -> Iterator[ast.AST]:
    """
    The nodes that run when the module is imported: everything but the bodies of functions.
    """
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from atImport(child)


def forTypesOnly(tree: ast.Module) -> set[ast.AST]:
    """
    The nodes in C{if TYPE_CHECKING:}.
    """
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                found.update(ast.walk(statement))
    return found


def violations(source: str, module: str, isPackage: bool = False) -> list[str]:
    """
    Each import of a module's source that breaks a rule, as C{module:line imports name: rule}.
    """
    tree = ast.parse(source)
    rules = [rule for rule in RULES if rule.holdsFor(module)]
    early, typesOnly = set(atImport(tree)), forTypesOnly(tree)
    found = []
    for node in ast.walk(tree):
        for name in importedNames(node, module, isPackage):
            broken = [rule.sentence for rule in rules if not rule.allows(name)]
            if module == "vnet.interfaces" and node in typesOnly and isBelow(name, ("vnet.values",)):
                broken = []
            if node in early and isBelow(name, ("twisted.internet.reactor",)):
                broken.append("nobody imports the reactor when a module is imported")
            found += [
                f"{module}:{getattr(node, 'lineno', 0)} imports {name}: {sentence}" for sentence in broken
            ]
    return found


def ourModules() -> Iterator[tuple[str, Path]]:
    """
    Each module of this project as its dotted name and its file.
    """
    for top in ("vnet", "twisted", "bench"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


class LayerTests(SynchronousTestCase):
    """
    The rules hold for each module of this project.
    """

    def test_everyModuleKeepsTheRules(self) -> None:
        """
        No module imports what its layer may not.
        """
        found: list[str] = []
        for module, path in ourModules():
            found += violations(path.read_text(), module, path.name == "__init__.py")
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_everyLayerIsRead(self) -> None:
        """
        Each rule is about at least one module that exists, so none holds only because a name has changed.
        """
        modules = [module for module, _ in ourModules()]
        for rule in RULES:
            for place in rule.modules:
                self.assertTrue(any(isBelow(module, (place,)) for module in modules), place)

    def test_pluginDirectoryIsNoPackage(self) -> None:
        """
        C{twisted/} and C{twisted/plugins/} have no C{__init__.py}: it would hide Twisted itself.
        """
        self.assertEqual([], list((ROOT / "twisted").rglob("__init__.py")))


class CheckerTests(SynchronousTestCase):
    """
    The checker sees what it is there to see.
    """

    def assertCaught(self, source: str, module: str, isPackage: bool = False) -> None:
        self.assertNotEqual([], violations(source, module, isPackage), (source, module))

    def assertFine(self, source: str, module: str, isPackage: bool = False) -> None:
        self.assertEqual([], violations(source, module, isPackage))

    def test_codec(self) -> None:
        """
        A codec that imports a library, Twisted, a clock or another layer is caught.
        """
        codec = "vnet.protocols.codec.stun"
        for source in (
            "import twisted",
            "from twisted.internet import defer",
            "from cryptography import x509",
            "import time",
            "from os import urandom",
            "from vnet import interfaces",
            "from vnet.protocols.machine import agent",
            "from ..machine import agent",
            "from .. import driver",
            "import vnet.client.node",
            "def late():\n    import nacl",
        ):
            self.assertCaught(source, codec)

    def test_codecMay(self) -> None:
        """
        A codec may import the standard library, attrs, errors, values and its neighbours.
        """
        codec = "vnet.protocols.codec.stun"
        for source in (
            "import struct, ipaddress",
            "from attrs import frozen",
            "from socket import inet_pton, AF_INET6",
            "from vnet.errors import DecodeError",
            "from vnet import values",
            "from . import ip",
            "from .ip import Packet",
        ):
            self.assertFine(source, codec)

    def test_machine(self) -> None:
        """
        A machine that imports Twisted, a socket, a clock, randomness or a driver is caught.
        """
        machine = "vnet.protocols.machine.noise"
        for source in (
            "from twisted.internet.task import Clock",
            "import socket",
            "from time import monotonic",
            "import select",
            "import asyncio",
            "import os",
            "from os import urandom as fresh",
            "import secrets",
            "import random",
            "from nacl.utils import random",
            "from datetime import datetime",
            "from vnet.protocols import control",
            "from ..control import Login",
            "import vnet.driver",
            "if True:\n    import sqlalchemy",
        ):
            self.assertCaught(source, machine)

    def test_machineMay(self) -> None:
        """
        A machine may import codecs, machines, nouns, Automat and cryptography.
        """
        for source in (
            "from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305",
            "import nacl.bindings",
            "from automat import TypeMachineBuilder",
            "from vnet.values import Address",
            "from ..codec import handshake",
            "from .replay import Window",
            "import hashlib, hmac, heapq",
        ):
            self.assertFine(source, "vnet.protocols.machine.noise")

    def test_protocol(self) -> None:
        """
        A protocol or driver that imports client or server is caught, in a function and for types only too.
        """
        for source in (
            "import vnet.client",
            "from vnet import server",
            "from vnet.server.mediator import Mediator",
            "from ..client import node",
            "def f():\n    from vnet.client.node import Node",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vnet.client.node import Node",
        ):
            self.assertCaught(source, "vnet.protocols.control")
        self.assertCaught("from vnet.client import node", "vnet.driver")
        self.assertFine(
            "from twisted.protocols import amp\nfrom .codec import stun", "vnet.protocols.control"
        )

    def test_clientAndServer(self) -> None:
        """
        Client and server that import each other are caught, from their packages' own C{__init__.py} too.
        """
        self.assertCaught("from vnet.server.accounts import Accounts", "vnet.client.node")
        self.assertCaught("from ..server import accounts", "vnet.client.node")
        self.assertCaught("from ...server import accounts", "vnet.client.dataplane.forwarder")
        self.assertCaught("from ..client import node", "vnet.server", isPackage=True)
        self.assertCaught("import vnet.client.cli as cli", "vnet.server.store.sqlite")
        self.assertFine("from . import identity\nfrom vnet.protocols import control", "vnet.client.node")
        self.assertFine("from .node import Node", "vnet.client", isPackage=True)

    def test_nouns(self) -> None:
        """
        Nouns that import another module of ours are caught; interfaces may name values for types only.
        """
        self.assertCaught("from vnet.values import Address", "vnet.errors")
        self.assertCaught("from .protocols.codec import stun", "vnet.values")
        self.assertFine("from vnet.errors import DecodeError", "vnet.values")
        self.assertCaught("from vnet.values import Address", "vnet.interfaces")
        typesOnly = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {} import X"
        self.assertFine(typesOnly.format("vnet.values"), "vnet.interfaces")
        self.assertCaught(typesOnly.format("vnet.client.node"), "vnet.interfaces")
        self.assertCaught(
            typesOnly.format("vnet.values") + "\nelse:\n    import vnet.values", "vnet.interfaces"
        )

    def test_reactor(self) -> None:
        """
        The reactor imported with a module is caught, in a class or a C{try} too; in a function it may be.
        """
        line = "from twisted.internet import reactor"
        for source in (
            line,
            line + " as r",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
            f"try:\n    {line}\nexcept ImportError:\n    pass",
            f"class A:\n    {line}",
        ):
            for module in ("vnet.server.mediatortap", "vnet.run", "vnet.test.test_x", "vnet.client.cli"):
                self.assertCaught(source, module)
        self.assertFine(f"def makeService():\n    {line}", "vnet.server.mediatortap")
        self.assertFine(f"class A:\n    async def f(self):\n        {line}", "vnet.run")

    def test_tests(self) -> None:
        """
        What users run and that imports the tests or their libraries is caught.
        """
        self.assertCaught("from vnet.test import netlab", "vnet.client.node")
        self.assertCaught("import hypothesis", "vnet.server.mediator")

"""
Tests for L{vnet.client.losses} and L{vnet.client.lossreasons}.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.losses import PERIOD, Losses, countersOf
from vnet.client.lossreasons import PARTS, REASONS, SERIOUS, droppedLines, reasonsOf

ROOT = Path(__file__).resolve().parents[2]

#: Which modules count for which part.
SOURCES = {
    "interface": ("client/dataplane/device.py", "client/dataplane/tunqueue.py"),
    "udp": ("client/dataplane/udp.py", "client/dataplane/paths.py"),
    "tunnel": tuple(
        f"protocols/machine/{each}.py"
        for each in ("wireguard", "opening", "sealing", "session", "handshake", "gate", "device", "keypair")
    ),
    "relay": (
        *(f"protocols/machine/{each}.py" for each in ("allocation", "turnrequests", "channeldata")),
        "protocols/turnstream.py",
    ),
    "forward": (
        *(
            f"client/dataplane/{each}.py"
            for each in (
                "forwarder",
                "dispatch",
                "delivery",
                "neighbours",
                "groups",
                "etherip",
                "snooping",
                "clamp",
                "echo",
            )
        ),
        "protocols/codec/linkscope.py",
    ),
}
#: Modules whose functions give the name of a counter, or no name.
NAMING = ("opening", "linkscope", "etherip")


def constants(node: ast.AST) -> Iterator[str]:
    """The strings that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def isNaming(path: Path, node: ast.AST) -> bool:
    return (
        path.stem in NAMING
        and isinstance(node, ast.FunctionDef)
        and ast.unparse(node.returns or node) == "str"
    )


def named(path: Path) -> set[str]:
    """The names of the counters of a module, as its source has them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).lower().endswith("counters"):
            found.update(constants(node.slice))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason":
            found.update(constants(node.value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Counter":
            found.update(each.arg for each in node.keywords if each.arg)
        elif isNaming(path, node):
            for each in ast.walk(node):
                if isinstance(each, ast.Return) and each.value is not None:
                    found.update(constants(each.value))
    return found - {""}


class SourceTests(SynchronousTestCase):
    """
    The source, the table and the document agree.
    """

    def test_sources(self) -> None:
        """Each counter in the source has its reason, or is said to count what was not dropped."""
        for part, paths in SOURCES.items():
            for path in paths:
                missing = named(ROOT / "vnet" / path) - PARTS[part].keys()
                self.assertEqual(missing, set(), f"{path}: not in vnet.client.lossreasons.PARTS[{part!r}]")

    def test_noneForgotten(self) -> None:
        """All modules that count are looked at: those of the data plane, and machines of tunnels and allocations."""
        known = {path for paths in SOURCES.values() for path in paths}
        for path in (ROOT / "vnet/client/dataplane").glob("*.py"):
            if named(path):
                self.assertIn(str(path.relative_to(ROOT / "vnet")), known | {"client/dataplane/sockets.py"})

    def test_noneInvented(self) -> None:
        """No reason is there that nothing counts, but errors of the system."""
        for part, paths in SOURCES.items():
            counted = {name for path in paths for name in named(ROOT / "vnet" / path)}
            unknown = {name for name in PARTS[part] if not re.fullmatch("E[A-Z0-9]+|other", name)} - counted
            self.assertEqual(unknown, set(), part)

    def test_documented(self) -> None:
        """docs/commands.md has a line for each reason, and none for others."""
        text = (ROOT / "docs" / "commands.md").read_text()
        section = text.partition("### What was dropped")[2].partition("\n#")[0]
        lines = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        self.assertEqual(lines, set(REASONS))

    def test_spelling(self) -> None:
        """Reasons are lowerCamelCase."""
        for reason in REASONS:
            self.assertRegex(reason, "^[a-z]+([A-Z][a-z]+)+$")
        self.assertTrue(SERIOUS.keys() <= set(REASONS))


class LossesTests(SynchronousTestCase):
    """
    The value.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.udp: Counter[str] = Counter()
        self.tunnel: Counter[str] = Counter()
        self.losses = Losses(self.clock, lambda: [("udp", self.udp), ("tunnel", self.tunnel)])

    def test_reasons(self) -> None:
        """Counters become reasons; what counts something else does not, and what nobody has foreseen is not lost."""
        self.assertEqual(
            reasonsOf("udp", {"EPERM": 2, "EACCES": 3, "EUNHEARDOF": 5}), {"udpForbidden": 5, "udpRefused": 5}
        )
        self.assertEqual(reasonsOf("forward", {"arp": 7, "noTunnel": 1}), {"forwardNoTunnel": 1})

    def test_dropped(self) -> None:
        """All parts are in it, and nothing that is 0."""
        self.udp.update(noAddress=4, EAGAIN=0)
        self.tunnel.update(badTag=2)
        self.assertEqual(self.losses.dropped(), {"tunnelBadTag": 2, "udpNoAddress": 4})

    def test_lately(self) -> None:
        """What is serious is told while it grows, and for a minute or two after that."""
        self.losses.start()
        self.udp.update(receiveQueueFull=4)
        self.tunnel.update(badTag=2)
        self.assertEqual(self.losses.lately(), {"udpReceiveQueueFull": 4})
        self.clock.advance(PERIOD)
        self.assertEqual(self.losses.lately(), {"udpReceiveQueueFull": 4})
        self.udp.update(receiveQueueFull=1)
        self.clock.advance(PERIOD)
        self.assertEqual(self.losses.lately(), {"udpReceiveQueueFull": 1})
        self.clock.advance(PERIOD)
        self.assertEqual(self.losses.lately(), {})
        self.losses.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines(self) -> None:
        """People are told of that, and of nothing else."""
        self.assertEqual(droppedLines({"droppedLately": {}}), [])
        self.assertEqual(droppedLines({}), [])
        (line,) = droppedLines({"droppedLately": {"udpReceiveQueueFull": 1234, "tunnelBadTag": 9}})
        self.assertEqual(
            line,
            "1,234 in the last minutes: peers send faster than this computer opens (udpReceiveQueueFull)",
        )

    def test_silentParts(self) -> None:
        """A device or a port that tells nothing has dropped nothing."""
        self.assertEqual(countersOf(object()), Counter())
        self.assertEqual(countersOf(None), Counter())

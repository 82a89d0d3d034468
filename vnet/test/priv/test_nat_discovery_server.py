"""
Our STUN servers tell hosts behind NATs of every kind what those do (RFC 5780); coturn's client judges.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import attrs
import pytest
from twisted.protocols.amp import ListOf, Unicode
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec import stunattributes as attr
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.test.netlab import Home, Host, Lab
from vnet.test.netlab._system import batch
from vnet.test.priv.daemons import Daemon, Mediator
from vnet.test.priv.rawnode import RawNode
from vnet.test.priv.relay import Relay, secretFile
from vnet.test.priv.turnclient import inside
from vnet.values import Address

pytestmark = [pytest.mark.commands("turnutils_natdiscovery"), pytest.mark.timeout(120)]

EIM, APDM = "NAT with Endpoint Independent Mapping!", "NAT with Address and Port Dependent Mapping!"
EIF, ADF = "NAT with Endpoint Independent Filtering!", "NAT with Address Dependent Filtering!"
APDF = "NAT with Address and Port Dependent Filtering!"
SAME = "No NAT! (Endpoint Independent Mapping)"
HAIRPIN = "Received a request (maybe a successful hairpinning)"
SILENT = "STUN receive timeout.."

# What the judge says of mapping, filtering and hairpinning.  Address-dependent mapping he takes for the other: his third question
# goes to what the second answer names, the first address again.  (coturn's server names the second one there, which RFC 5780
# section 7.4 does not mean.)
VERDICTS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "public": ({SAME, EIM}, {SAME, EIF}, {HAIRPIN}),
    "port-restricted": ({EIM}, {APDF, SILENT}, {SILENT}),
    "early-packet": ({EIM}, {APDF, SILENT}, {SILENT}),
    "address-restricted": ({EIM}, {ADF, SILENT}, {SILENT}),
    "full-cone": ({EIM}, {EIF}, {SILENT}),
    "hairpin": ({EIM}, {EIF}, {HAIRPIN}),
    "one-to-one": ({EIM}, {EIF}, {SILENT}),
    "eim-block": ({EIM}, {APDF, SILENT}, {SILENT}),
    "address-dependent": ({APDM}, {APDF, SILENT}, {SILENT}),
    "symmetric-random": ({APDM}, {APDF, SILENT}, {SILENT}),
    "symmetric-sequential": ({APDM}, {APDF, SILENT}, {SILENT}),
    "symmetric-block": ({APDM}, {APDF, SILENT}, {SILENT}),
    "pooling": ({APDM}, {APDF, SILENT}, {SILENT}),
    "double": ({EIM}, {APDF, SILENT}, {SILENT}),
    "udp-blocked": ({SILENT}, {SILENT}, {SILENT}),
}
AT_RELAYS = ("address-restricted", "full-cone", "symmetric-random")
NEXT_TO = Address("127.0.0.1", 3479)


def judge(host: Host, server: str, *options: str) -> list[str]:
    """
    What coturn's client says of the NAT in front of a host.
    """
    argv = ["turnutils_natdiscovery", "-L", host.address, *options, server]
    process = host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = process.communicate(timeout=60)
    return said.splitlines()


def verdict(host: Host, server: str, option: str) -> set[str]:
    known = {SAME, EIM, APDM, EIF, ADF, APDF, HAIRPIN, SILENT}
    return known.intersection(judge(host, server, option))


@contextmanager
def asking(host: Host) -> Iterator[Callable[..., tuple[Message, Address]]]:
    """
    A socket of a host, and a function that asks a server with some attributes and returns the answer and its source.
    """
    with inside(host):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.settimeout(5)

        def ask(to: tuple[str, int], *attributes: attr.Attribute[Any]) -> tuple[Message, Address]:
            opened.sendto(encode(Message(BINDING, Class.REQUEST, os.urandom(12), attributes)), to)
            answer, source = opened.recvfrom(2048)
            return decode(answer), Address(*source)

        yield ask


@attrs.frozen
class Server:
    """
    A server of ours, and its two addresses.
    """

    daemon: Daemon
    one: str
    two: str


class DiscoveryTests(SynchronousTestCase):
    """
    A mediator, a mediator with a relay, and a relay, each on two addresses, and a home of each kind.
    """

    _cleanup: ClassVar[ExitStack]
    lab: ClassVar[Lab]
    homes: ClassVar[dict[str, Home]]
    servers: ClassVar[dict[str, Server]]
    verdicts: ClassVar[dict[tuple[str, str, str], Future[set[str]]]]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Let the judge look at all of them at once: most of his time he waits.
        """
        cls._cleanup = ExitStack()
        try:
            cls.lab = cls._cleanup.enter_context(Lab("discovery"))
            cls._startServers()
            cls.homes = {
                kind: cls.lab.addHome(f"h{number}", nat=kind) for number, kind in enumerate(VERDICTS)
            }
            for server in cls.servers.values():
                server.daemon.waitReady()
            asked = [("mediator", kind) for kind in VERDICTS]
            asked += [(name, kind) for name in ("both", "relay") for kind in AT_RELAYS]
            pool = cls._cleanup.enter_context(ThreadPoolExecutor(3 * len(asked)))
            cls.verdicts = {
                (name, kind, option): pool.submit(
                    verdict, cls.homes[kind].host, cls.servers[name].one, option
                )
                for name, kind in asked
                for option in ("-m", "-f", "-H")
            }
        except BaseException:
            cls._cleanup.close()
            raise

    @classmethod
    def _startServers(cls) -> None:
        cls.servers = {}
        secret = f"--secret-file={secretFile(cls.lab.directory)}"
        for name, kind, command, options in (
            ("mediator", Mediator, "vnet-mediator", []),
            ("both", Mediator, "vnet-mediator", ["--with-relay"]),
            ("relay", Relay, "vnet-relay", [secret]),
        ):
            host = cls.lab.addHost(name)
            second = host.addAddress()
            if kind is Relay:
                options = [*options, f"--listen={host.address}", f"--listen={second}"]
            daemon = kind(name, host, cls.lab.directory / name, command, options)
            daemon.spawn()
            cls._cleanup.callback(daemon.stop)
            cls.servers[name] = Server(daemon, host.address, second)

    @classmethod
    def tearDownClass(cls) -> None:
        """
        Remove all of it; no log has a traceback.
        """
        for server in cls.servers.values():
            server.daemon.stop()
        found = [s.daemon.name for s in cls.servers.values() if "Traceback" in s.daemon.log.read_text()]
        cls._cleanup.close()
        if found:
            raise AssertionError(f"tracebacks in the logs of {found}")

    def check(self, server: str, *kinds: str) -> None:
        found = {
            kind: tuple(self.verdicts[server, kind, option].result() for option in ("-m", "-f", "-H"))
            for kind in kinds
        }
        self.assertEqual(found, {kind: VERDICTS[kind] for kind in kinds})

    def test_mediator(self) -> None:
        """
        A mediator on a host with two addresses, which it found itself, lets the judge tell each kind of NAT.
        """
        self.check("mediator", *VERDICTS)

    def test_relay(self) -> None:
        """A relay with two --listen does, too: on the sockets of TURN."""
        self.check("relay", *AT_RELAYS)

    def test_withRelay(self) -> None:
        """So does a mediator that is a relay."""
        self.check("both", *AT_RELAYS)

    def test_log(self) -> None:
        """Each of them says in one line that it serves all of RFC 5780, and where."""
        for server in self.servers.values():
            lines = [line for line in server.daemon.log.read_text().splitlines() if "#info] STUN" in line]
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(
                f"RFC 5780, on two addresses: {server.one} and {server.two}, ports 3478 and 3479", lines[0]
            )

    def test_told(self) -> None:
        """Nodes are told both addresses with both ports, in that order."""
        server = self.servers["mediator"]
        with inside(server.daemon.host):
            answer = RawNode(7443).login()
        four = [f"{host}:{port}" for host in (server.one, server.two) for port in (3478, 3479)]
        self.assertEqual(ListOf(Unicode()).fromString(answer["stun"]), [*four, ":3478", ":3479"])

    def seenFrom(self, kind: str) -> list[Address | None]:
        """
        What the four sockets of the mediator see of one socket of a home: A1:P1, A1:P2, A2:P1, A2:P2.
        """
        server = self.servers["mediator"]
        with asking(self.homes[kind].host) as ask:
            return [
                ask((host, port))[0].get(attr.XOR_MAPPED_ADDRESS)
                for host in (server.one, server.two)
                for port in (3478, 3479)
            ]

    def test_mappings(self) -> None:
        """
        The four sockets see one mapping, two that depend on the address, or four, as the home's NAT maps.
        """
        for kind, mappings in (("port-restricted", 1), ("address-dependent", 2), ("symmetric-random", 4)):
            seen = self.seenFrom(kind)
            self.assertNotIn(None, seen)
            self.assertEqual(len(set(seen)), mappings, (kind, seen))
            self.assertEqual(seen[0] == seen[1], mappings < 4)

    def test_collision(self) -> None:
        """
        Two hosts that use the same port get two mappings, the first of which preserves it.
        """
        home, server = self.homes["port-restricted"], self.servers["mediator"]
        other = str(home.network[77])
        batch([f"addr add {other}/24 dev eth0"], home.host.namespace)
        said = judge(home.host, server.one, "-l", "7777", "-c", "-A", other)
        seen = [line.rpartition(" ")[2] for line in said if "reflexive" in line]
        self.assertEqual(len(set(seen)), 2, said)
        self.assertEqual(seen[0], f"{home.publicAddress}:7777")

    def test_refused(self) -> None:
        """What needs RESPONSE-PORT, and PADDING, are refused with error 420."""
        home, server = self.homes["hairpin"].host, self.servers["mediator"]
        self.assertIn("The response is an error 420 ()", judge(home, server.one, "-m", "-P"))
        with asking(home) as ask:
            for forbidden in (attr.RESPONSE_PORT(7), attr.PADDING(bytes(100))):
                answer, source = ask((server.two, 3479), forbidden)
                self.assertEqual(answer.get(attr.UNKNOWN_ATTRIBUTES), (forbidden.kind.code,))
                self.assertEqual(source, Address(server.two, 3479))


class OneAddressTests(SynchronousTestCase):
    """
    Mediators on a host with one address.
    """

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.lab = stack.enter_context(Lab("oneaddress"))
        self.host = self.lab.addHost("single")
        self.home = self.lab.addHome("alice", nat="address-restricted")
        self.stack = stack

    def start(self, *options: str) -> Mediator:
        daemon = Mediator("single", self.host, self.lab.directory / "single", "vnet-mediator", list(options))
        daemon.start()
        self.stack.callback(daemon.stop)
        return daemon

    def lines(self, daemon: Mediator) -> list[str]:
        return [line for line in daemon.log.read_text().splitlines() if "#info] STUN" in line]

    def told(self) -> list[str]:
        with inside(self.host):
            answer = RawNode(7443).login()
        return list(ListOf(Unicode()).fromString(answer["stun"]))

    def test_ports(self) -> None:
        """
        It answers on two ports, and a request for the other port from there; there is no other address, and one line says what
        that means.
        """
        daemon, one = self.start(), self.host.address
        self.assertEqual(self.told(), [":3478", ":3479"])
        [line] = self.lines(daemon)
        self.assertIn("STUN on one address: nodes learn only in part what their NATs do", line)
        with asking(self.home.host) as ask:
            self.assertEqual(ask((one, 3479))[1], Address(one, 3479))
            answer, source = ask((one, 3478), attr.CHANGE_REQUEST(attr.ChangeRequest(port=True)))
            self.assertEqual((len(answer.attributes), source), (1, Address(one, 3479)))
            answer, source = ask((one, 3478), attr.CHANGE_REQUEST(attr.ChangeRequest(address=True)))
            self.assertEqual((answer.get(attr.ERROR_CODE), source), (attr.ErrorCode(420), Address(one, 3478)))

    def test_taken(self) -> None:
        """
        Where another program has the second port, be it on one address, the mediator starts without, and says so in a line.
        """
        with inside(self.host):
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.bind(tuple(NEXT_TO[:2]))
        self.addCleanup(other.close)
        daemon = self.start()
        self.assertEqual(self.told(), [":3478"])
        [line, _] = self.lines(daemon)
        self.assertIn("STUN goes without UDP port 3479: Address already in use", line)

"""
Tests for L{vnet.server.relaytap}, L{vnet.server.relay} and L{vnet.server.relayserver}.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import NoReturn

from twisted.application.service import IService
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.errors import ConfigurationError
from vnet.protocols.machine.relaycredentials import FixedUsers
from vnet.protocols.machine.relaysettings import RelaySettings, Service
from vnet.protocols.turn import TurnServer
from vnet.server.outward import guessHost
from vnet.server.relay import RelayConfiguration, RelayService
from vnet.server.relayserver import RelayChoice, RelayServer, chooseHosts
from vnet.server.relaytap import Options, defaultState, makeService
from vnet.statedir import StateDirectory


class OptionsTests(SynchronousTestCase):
    """
    L{Options}.
    """

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_defaults(self) -> None:
        """Without options: the ports of the RFCs, all addresses, 256 kbit/s for class low and no limit for high."""
        options = self.parse()
        choice = options.choice()
        self.assertEqual((3478, 5349), (options["port"], options["tls-port"]))
        self.assertEqual(((), (), range(49152, 65536)), (choice.listen, choice.external, choice.ports))
        self.assertEqual({"low": Service(32_000, 32_000), "high": Service()}, dict(choice.services))

    def test_chosen(self) -> None:
        """What may be repeated adds up; rates are in kbit/s."""
        choice = self.parse(
            *(
                "--listen=192.0.2.1",
                "--listen=2001:DB8::1",
                "--external-ip=203.0.113.7",
                "--ports=50000-50099",
            ),
            *("--allow-peer=192.168.7.0/24", "--allow-peer=10.0.0.1", "--deny-peer=203.0.113.0/24"),
            *("--user-quota=5", "--total-quota=99", "--low-rate=8", "--high-rate=80"),
        ).choice()
        self.assertEqual((("192.0.2.1", "2001:db8::1"), ("203.0.113.7",)), (choice.listen, choice.external))
        self.assertEqual((ip_network("192.168.7.0/24"), ip_network("10.0.0.1/32")), choice.allow)
        self.assertEqual((ip_network("203.0.113.0/24"),), choice.deny)
        self.assertEqual((5, 99, 100), (choice.limits.perUser, choice.limits.total, len(choice.ports)))
        self.assertEqual({"low": Service(1000, 1000), "high": Service(10_000, 10_000)}, dict(choice.services))

    def test_refused(self) -> None:
        """Each option that makes no sense gives one line with its name or its value."""
        for argument, text in (
            ("--port=0", "--port: '0' is no port"),
            ("--port=65536", "1 to 65535"),
            ("--tls-port=x", "'x'"),
            ("--ports=50000", "--ports: "),
            ("--ports=50010-50000", "greater"),
            ("--ports=80-90", "1024 to 65535"),
            ("--listen=everywhere", "--listen: 'everywhere' is no IP address"),
            ("--external-ip=x", "--external-ip"),
            ("--allow-peer=10.0.0.1/8", "zeros after the prefix"),
            ("--deny-peer=", "--deny-peer"),
            ("--user-quota=0", "number of allocations"),
            ("--low-rate=-1", "--low-rate: "),
            ("--host=a b", "'a b'"),
            ("--realm=", "--realm"),
            ("--realm=a\x07b", "--realm"),
            ("--tls-key=/x", "belong together"),
            ("--nothing", "not recognized"),
            ("extra", "Wrong number"),
        ):
            with self.assertRaises(SystemExit) as caught:
                self.parse(argument)
            line = str(caught.exception.code)
            self.assertTrue(line.startswith("vnet-relay: "), line)
            self.assertIn(text, line)
            self.assertNotIn("\n", line)
        with self.assertRaises(SystemExit):
            self.parse("--external-ip=192.0.2.1", "--external-ip=192.0.2.2")

    def test_state(self) -> None:
        """Root's state is in /var/lib, another user's in XDG_STATE_HOME."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(Path("/var/lib/vnet-relay"), defaultState())
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "environ", {"XDG_STATE_HOME": "/x", "HOME": "/home/u"})
        self.assertEqual(Path("/x/vnet-relay"), defaultState())

    def test_makeService(self) -> None:
        """Building the service touches nothing."""
        from twisted.internet import reactor

        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.patch(reactor, "seconds", lambda: 0.0)
        service = makeService(self.parse(f"--state={directory / 'state'}"))
        self.assertIsInstance(service, RelayService)
        self.assertTrue(verifyObject(IService, service))
        self.assertEqual([], list(directory.iterdir()))


class BusyReactor(MemoryReactor):
    """All of its ports are taken."""

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> NoReturn:
        raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "Address already in use"))


class MetricsTests(SynchronousTestCase):
    """
    C{--metrics}.
    """

    def test_refused(self) -> None:
        """An endpoint that cannot be is one line, whether its text, its files or its port are wrong."""
        relay = RelayServer(Clock(), RelayChoice(), FixedUsers({}))
        relay.server = TurnServer(Clock(), RelaySettings("test", {4: "192.0.2.1"}), FixedUsers({}))
        for metrics, text in (
            ("tcp:x", "invalid literal"),
            ("ssl:9641:privateKey=/nowhere/key.pem", "/nowhere/key.pem: No such file"),
            ("nonsense", "nonsense"),
            ("tcp:9641", "in use by another program"),
        ):
            configuration = RelayConfiguration(
                StateDirectory(Path("/nowhere")), RelayChoice(), metrics=metrics
            )
            service = RelayService(BusyReactor(), configuration, Options())
            error = self.assertRaises(ConfigurationError, service._listenMetrics, relay)
            self.assertTrue(str(error).startswith(f"--metrics={metrics}: "), error)
            self.assertIn(text, str(error))
            self.assertNotIn("\n", str(error))


class HostsTests(SynchronousTestCase):
    """
    L{chooseHosts} and L{guessHost}.
    """

    def test_chosen(self) -> None:
        """The first address of each family that the operator names relays, otherwise the one towards the Internet."""
        outward = {4: "192.0.2.9", 6: "2001:db8::9"}
        self.assertEqual(outward, chooseHosts((), outward))
        self.assertEqual({4: "192.0.2.1"}, chooseHosts(("192.0.2.1", "192.0.2.2"), outward))
        self.assertRaises(ConfigurationError, chooseHosts, (), {})

    def test_guess(self) -> None:
        """There is always something that can stand in a URL."""
        self.assertTrue(guessHost())

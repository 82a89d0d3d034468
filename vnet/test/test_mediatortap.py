"""
Tests for L{vnet.server.mediatortap}, L{vnet.server.listening} and L{vnet.server.service}.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.server.mediatortap import Options, defaultState, makeService, parseHost
from vnet.server.service import MediatorService
from vnet.values import Address


def _texts(networks: Iterable[object]) -> list[str]:
    return [str(each) for each in networks]


class OptionsTests(SynchronousTestCase):
    """
    L{Options}.
    """

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_defaults(self) -> None:
        """Without options: TCP 7443, 100.64.0.0/10, and SQLite in the state directory."""
        options = self.parse("--state=/tmp/state")
        self.assertEqual([], options.listen)
        self.assertEqual("100.64.0.0/10", str(options["pool"].network))
        self.assertEqual("/tmp/state/mediator.db", options["database"].database)
        self.assertIsNone(options.tickets())
        self.assertIsNone(options.relayChoice())

    def test_refused(self) -> None:
        """Each option that makes no sense gives one line with its name or its value."""
        for argument, text in (
            ("--pool=10.0.0.0/8", "home and office"),
            ("--pool=x", "CIDR"),
            ("--host=a b", "--host=a b"),
            ("--host=", "--host="),
            ("--listen=udp:1", "--listen takes an endpoint"),
            ("--stun=nowhere", "--stun=nowhere"),
            ("--stun=1.2.3.4:99999", "--stun"),
            ("--stun=example.org:3478", "IP:PORT"),
            ("--relay=http://x", "--relay=http://x"),
            ("--relay=turns:r.example?transport=udp", "DTLS"),
            ("--relay=turn:r.example", "belong together"),
            ("--relay-class=middling", "low or high"),
            ("--relay-ports=9", "--relay-ports: "),
            ("--allow-peer=192.0.2.0/24", "--with-relay"),
            ("--external-ip=192.0.2.1", "--with-relay"),
            ("--relay-secret-file=/x", "belong together"),
            ("--database=nonsense", "database is a URL"),
            ("--nothing", "not recognized"),
            ("extra", "Wrong number"),
        ):
            with self.assertRaises(SystemExit) as caught:
                self.parse(argument)
            line = str(caught.exception.code)
            self.assertTrue(line.startswith("vnet-mediator: "), line)
            self.assertIn(text, line)
            self.assertNotIn("\n", line)

    def test_lists(self) -> None:
        """STUN servers and relays may be given several times, and not without end."""
        options = self.parse("--stun=192.0.2.1:3478", "--stun=[2001:db8::1]:3479", "--stun=:3480")
        self.assertEqual(
            [Address("192.0.2.1", 3478), Address("2001:db8::1", 3479), Address("", 3480)], options.stun
        )
        with self.assertRaises(SystemExit):
            self.parse(*["--stun=:1"] * 9)

    def test_hosts(self) -> None:
        """Names and addresses of both families are hosts."""
        for text, host in (
            ("Mediator.Example", "mediator.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ):
            self.assertEqual(host, parseHost(text))

    def test_relaySecret(self) -> None:
        """The secret is read from its file; a missing or a short one is refused in one line."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        file = directory / "secret"
        options = self.parse("--relay=turn:r.example:3478?transport=udp", f"--relay-secret-file={file}")
        with self.assertRaisesRegex(SystemExit, "there is no such file"):
            options.tickets()
        file.write_text("short\n")
        with self.assertRaisesRegex(SystemExit, "16 characters"):
            options.tickets()
        file.write_text("long enough to be a secret\n")
        self.assertIsNotNone(options.tickets())

    def test_withRelay(self) -> None:
        """
        A relay in the same process uses the addresses of STUN, does not relay into the overlay, and is seen at C{--host} if
        that is an address.
        """
        options = self.parse(
            "--with-relay",
            "--stun=192.0.2.1:3478",
            "--stun=[2001:db8::1]:3478",
            "--pool=198.18.0.0/16",
            "--host=203.0.113.9",
            "--allow-peer=192.168.7.0/24",
            "--relay-ports=50000-50099",
        )
        choice = options.relayChoice()
        assert choice is not None
        self.assertEqual((("192.0.2.1", "2001:db8::1"), ("203.0.113.9",)), (choice.listen, choice.external))
        self.assertEqual((["198.18.0.0/16"], ["192.168.7.0/24"]), (_texts(choice.deny), _texts(choice.allow)))
        self.assertEqual(range(50000, 50100), choice.ports)
        named = self.parse("--with-relay", "--host=mediator.example").relayChoice()
        assert named is not None
        self.assertEqual((), named.external)

    def test_state(self) -> None:
        """Root's state is in /var/lib, another user's in XDG_STATE_HOME."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(Path("/var/lib/vnet-mediator"), defaultState())
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "environ", {"XDG_STATE_HOME": "/x", "HOME": "/home/u"})
        self.assertEqual(Path("/x/vnet-mediator"), defaultState())
        self.patch(os, "environ", {"HOME": "/home/u"})
        self.assertEqual(Path("/home/u/.local/state/vnet-mediator"), defaultState())

    def test_makeService(self) -> None:
        """Building the service touches nothing."""
        from twisted.internet import reactor

        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.patch(reactor, "seconds", lambda: 0.0)
        service = makeService(self.parse(f"--state={directory / 'state'}"))
        self.assertIsInstance(service, MediatorService)
        self.assertTrue(verifyObject(IService, service))
        self.assertEqual([], list(directory.iterdir()))

"""
Tests for L{vnet.server.mediatortap}, L{vnet.server.listening} and L{vnet.server.service}.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.server.mediatortap import Options, defaultState, makeService, parseHost
from vnet.server.service import MediatorService
from vnet.values import Address


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
        self.assertEqual("tcp:7443", options["listen"])
        self.assertEqual("100.64.0.0/10", str(options["pool"].network))
        self.assertEqual("/tmp/state/mediator.db", options["database"].database)
        self.assertIsNone(options.tickets())

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
            ("--relay=turn:r.example", "belong together"),
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
        with self.assertRaisesRegex(SystemExit, "No such file"):
            options.tickets()
        file.write_text("short\n")
        with self.assertRaisesRegex(SystemExit, "16 characters"):
            options.tickets()
        file.write_text("long enough to be a secret\n")
        self.assertIsNotNone(options.tickets())

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

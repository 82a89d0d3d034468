"""
Logins to what is not the mediator that it should be: one clear line each, and nothing lost or changed.
"""

from __future__ import annotations

import os
import pty
import re
import sqlite3
import subprocess
import sys
import termios
import time
from contextlib import closing
from ipaddress import ip_address
from typing import ClassVar

import pytest
from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.url import MediatorUrl, parseMediatorUrl
from vnet.test.netlab import Host
from vnet.test.priv.authority import Authority
from vnet.test.priv.cluster import Mediator, Node, waitUntil
from vnet.test.priv.daemons import environment
from vnet.test.priv.household import Household, HouseholdCase, tracebacks
from vnet.test.priv.unharmed import refused, unharmed

EXPIRED, WRONG_NAME, STRANGER, OLD, SILENT, GARBAGE, CLOSING, NOBODY = range(7001, 7009)


@pytest.mark.timeout(120)
class LoginTests(HouseholdCase):
    """
    C{vnet login} to what is not the mediator that it should be.
    """

    shop: ClassVar[Host]
    slow: ClassVar[subprocess.Popen[str]]
    began: ClassVar[float]

    @classmethod
    def build(cls) -> None:
        """
        Bad servers on a host of their own; the nodes know a test's authority.
        """
        directory = cls.cluster.lab.directory
        known, unknown = Authority(directory, "known"), Authority(directory, "unknown")
        cls.shop = cls.cluster.lab.addHost("shop")
        here = cls.shop.address
        servers = [f"silent:{SILENT}", f"garbage:{GARBAGE}", f"closing:{CLOSING}"]
        for kind, port, issued in (
            ("tls13", EXPIRED, known.issue("expired", here, expired=True)),
            ("tls13", WRONG_NAME, known.issue("wrong", "other.example", "192.0.2.7")),
            ("tls13", STRANGER, unknown.issue("stranger", here)),
            ("tls12", OLD, known.issue("old", here)),
        ):
            servers.append(f"{kind}:{port}:{issued.certificate}:{issued.key}")
        argv = [sys.executable, "-m", "vnet.test.priv.badservers", *servers]
        cls.shop.popen(argv, env=environment(directory))
        os.environ.update({"SSL_CERT_FILE": str(known.root)})
        try:
            super().build()
        finally:
            del os.environ["SSL_CERT_FILE"]
        # It takes long, so it begins before all others.
        cls.began = time.monotonic()
        url = f"vnet://{here}:{SILENT}"
        cls.slow = cls.bob.host.popen(
            cls.bob._argv(("login", url)),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(cls.bob.state),
        )

    def refusedLogin(self, port: int, code: int) -> str:
        """
        @return: the line.
        """
        with unharmed(self.alice):
            return refused(self.alice, code, "login", f"vnet://{self.shop.address}:{port}")

    def test_wrongPin(self) -> None:
        """
        A mediator whose key is not the one of the pin is refused.
        """
        url = parseMediatorUrl(self.mediator.url)
        with unharmed(self.alice):
            line = refused(self.alice, 1, "login", str(MediatorUrl(url.host, url.port, bytes(32))))
        self.assertIn("pin", line)

    def test_expired(self) -> None:
        """
        A certificate that has expired is refused.
        """
        self.assertIn("has expired", self.refusedLogin(EXPIRED, 1))

    def test_wrongName(self) -> None:
        """
        A certificate for another host is refused.
        """
        self.assertIn(f"not for {self.shop.address}", self.refusedLogin(WRONG_NAME, 1))

    def test_unknownAuthority(self) -> None:
        """
        A certificate of an authority that the computer does not know is refused, as is a mediator's own without its pin.
        """
        self.assertIn("does not know", self.refusedLogin(STRANGER, 1))
        url = parseMediatorUrl(self.mediator.url)
        with unharmed(self.alice):
            line = refused(self.alice, 1, "login", str(MediatorUrl(url.host, url.port)))
        self.assertIn("#sha256-", line)

    def test_oldTls(self) -> None:
        """
        A server that speaks TLS 1.2 at most is refused.
        """
        self.assertIn("TLS 1.3", self.refusedLogin(OLD, 3))

    def test_nobodyListens(self) -> None:
        """
        A host where nothing listens.
        """
        self.assertIn("refused", self.refusedLogin(NOBODY, 3))

    def test_noSuchHost(self) -> None:
        """
        A host whose name does not resolve.
        """
        with unharmed(self.alice):
            line = refused(self.alice, 3, "login", "vnet://nowhere.invalid")
        self.assertIn("nowhere.invalid", line)

    def test_garbage(self) -> None:
        """
        A server that speaks something else.
        """
        self.assertIn("TLS", self.refusedLogin(GARBAGE, 3))

    def test_closing(self) -> None:
        """
        A server that closes the connection at once.
        """
        self.assertIn("other side closed", self.refusedLogin(CLOSING, 3))

    def test_silent(self) -> None:
        """
        A server that accepts and says nothing is given up within 15 seconds.
        """
        _, errors = self.slow.communicate(timeout=25)
        self.assertLess(time.monotonic() - self.began, 60)
        self.assertEqual(self.slow.returncode, 3, errors)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn("no answer for 10 seconds", errors)
        self.assertEqual(self.bob.ask("status")["mediator"], self.mediator.url)

    def test_otherName(self) -> None:
        """
        A login to the same mediator by another name is no harm: the new session takes the place of the old one, and the
        tunnel stays.
        """
        url, host = self.mediator.url, self.mediator.host.address
        # The system reads such a name as an address.
        other = url.replace(host, f"0x{int(ip_address(host)):x}")
        with unharmed(self.alice):
            for each in (other, url):
                self.alice.login(each)
                status = self.alice.waitOnline()
                self.assertEqual((status["mediator"], status["error"]), (each, None))
                self.assertEqual(self.alice.peer(self.bob.address)["path"], "direct")

    def test_badUrls(self) -> None:
        """
        What is no URL of a mediator is refused before anything is tried.
        """
        good = self.mediator.url
        for url in (
            "",
            "https://example.org",
            "vnet://",
            "vnet://host:0",
            "vnet://host:99999",
            "vnet://user@host",
            "vnet://[::1",
            "vnet://1.2.3",
            "vnet://a b",
            "vnet://" + "x" * 3000,
            good[:-1],
            good[:-1] + "!",
            good + "&secret=x",
            good.replace("sha256-", "md5-"),
            "vnet://h\x1b[31m",
        ):
            with unharmed(self.alice):
                refused(self.alice, 1, "login", url)


@pytest.mark.timeout(120)
class AuthorityTests(SynchronousTestCase):
    """
    One node, and mediators on its own host: one with an authority's certificate and a block of its operator's choice, one
    whose block is small.
    """

    cluster: ClassVar[Household]
    carol: ClassVar[Node]
    large: ClassVar[Mediator]
    small: ClassVar[Mediator]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start them.
        """
        cls.cluster = cluster = Household("authority")
        cluster.__enter__()
        try:
            directory = cluster.lab.directory
            authority = Authority(directory)
            issued = authority.issue("good", "localhost")
            host = cluster.lab.addHost("carol")
            files = f"privateKey={issued.key}:certKey={issued.certificate}"
            cls.large = cluster.startMediator(
                f"--listen=ssl:7443:{files}",
                "--pool=198.18.0.0/15",
                "--host=localhost",
                host=host,
                wait=False,
            )
            options = ("--listen=tcp:7444", "--stun=127.0.0.1:3481", "--pool=100.80.7.0/24")
            cls.small = cluster.startMediator(*options, host=host, name="small", wait=False)
            os.environ["SSL_CERT_FILE"] = str(authority.root)
            try:
                cls.carol = cluster.addNode("carol2", where=host)
            finally:
                del os.environ["SSL_CERT_FILE"]
            cls.large.waitReady()
        except BaseException as error:
            cluster.__exit__(type(error), error, None)
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        No log has a traceback.
        """
        found = tracebacks(cls.cluster.daemons)
        cls.cluster.__exit__(None, None, None)
        if found:
            raise AssertionError(found)

    def test_certificate(self) -> None:
        """
        A mediator with the certificate of an authority needs no pin, but its right name.
        """
        self.assertEqual(self.large.url, "vnet://localhost:7443")
        self.carol.login("vnet://localhost")
        with unharmed(self.carol):
            line = refused(self.carol, 1, "login", "vnet://127.0.0.1")
        self.assertIn("not for 127.0.0.1", line)
        self.carol.vnet("logout")

    def test_overlap(self) -> None:
        """
        A mediator whose block overlaps a route of this computer is refused, and the route is named; when the route is gone,
        login works.
        """
        device = self.carol.host.link.device
        route = ["198.18.4.0/24", "dev", device]
        self.carol.host.run(["ip", "route", "add", *route])
        with unharmed(self.carol):
            line = refused(self.carol, 1, "login", "vnet://localhost")
        self.assertIn("198.18.4.0/24", line)
        self.assertIn(device, line)
        self.carol.host.run(["ip", "route", "del", *route])
        self.carol.login("vnet://localhost")
        self.assertTrue(self.carol.address.startswith(("198.18.", "198.19.")))
        self.carol.vnet("logout")

    def test_fullPool(self) -> None:
        """
        When all addresses are given, a new node is refused and stays where it was; one that has an address is not.
        """
        self.carol.login("vnet://localhost")
        waitUntil(lambda: (self.small.state / "url").exists(), 10, "the small mediator is ready")
        with closing(sqlite3.connect(self.small.state / "mediator.db")) as database:
            first = 100 << 24 | 80 << 16 | 7 << 8
            rows = [
                (os.urandom(32), first + number, os.urandom(16), "taken", False) for number in range(2, 255)
            ]
            database.executemany(
                "INSERT INTO nodes (key, address, address6, nick, present) VALUES (?, ?, ?, ?, ?)", rows
            )
            database.commit()
        with unharmed(self.carol):
            line = refused(self.carol, 1, "login", self.small.url)
        self.assertIn("100.80.7.0/24", line)
        self.assertIn("--pool", line)
        with closing(sqlite3.connect(self.small.state / "mediator.db")) as database:
            self.assertEqual(database.execute("SELECT count(*) FROM nodes").fetchone(), (253,))
            database.execute("DELETE FROM nodes WHERE address = ?", (first + 9,))
            database.commit()
        self.carol.login(self.small.url)
        self.assertEqual(self.carol.address, "100.80.7.9")
        self.carol.vnet("logout")

    def test_hostileNames(self) -> None:
        """
        Names that no mediator lets in, but a hostile one sends, reach a terminal as harmless text.
        """
        self.carol.login("vnet://localhost")
        self.carol.create("zoo", None)
        self.carol.vnet("logout")
        self.large.stop()
        hostile = [
            "\x1b[2J\x1b]0;owned\x07",
            "\u202egnp.exe",
            "a\u200bb\u2066c",
            "z" + "\u0301" * 50,
            "\r\n100.64.0.1 root",
            "[red]rich[/red]",
            "\x9b31m",
            "\x7f\x08\x08",
            "",
        ]
        with closing(sqlite3.connect(self.large.state / "mediator.db")) as database:
            (network,) = database.execute("SELECT id FROM networks").fetchone()
            for number, nick in enumerate(hostile):
                key = bytes(SigningKey.generate().verify_key)
                inside = (198 << 24 | 18 << 16) + 1000 + number
                prefix = database.execute("SELECT prefix6 FROM mediator").fetchone()[0]
                row = database.execute(
                    "INSERT INTO nodes (key, address, address6, nick, present) VALUES (?, ?, ?, ?, 0)",
                    (key, inside, address6Of(prefix, key).packed, nick),
                )
                database.execute(
                    "INSERT INTO members (network, node, online) VALUES (?, ?, 1)", (network, row.lastrowid)
                )
            database.execute("UPDATE networks SET name = ?", ("\x1b[31mzoo\u202e",))
            database.commit()
        self.large.start()
        self.carol.login("vnet://localhost")
        waitUntil(lambda: self.carol.ask("list")["networks"][0]["members"], 20, "the members are known")
        shown = self.onTerminal("list")
        self.assertIn("198.18.3.23", shown)
        self.assertIn("[red]rich[/red]", shown)
        plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
        for character in plain:
            self.assertTrue(character.isprintable() or character in "\r\n", f"{character!r} in {plain!r}")
        self.assertNotIn("\u0301" * 4, plain)
        self.carol.vnet("logout")

    def onTerminal(self, *arguments: str) -> str:
        """
        @return: what C{vnet} writes to a terminal of 100 columns.
        """
        controller, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (50, 100))
        env = {**environment(self.carol.state), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        process = self.carol.host.popen(
            self.carol._argv(arguments), stdin=terminal, stdout=terminal, stderr=terminal, env=env
        )
        os.close(terminal)
        written = b""
        try:
            while chunk := os.read(controller, 65536):
                written += chunk
        except OSError:
            pass  # nobody has the terminal open any more
        finally:
            os.close(controller)
        self.assertEqual(process.wait(20), 0, written)
        return written.decode()

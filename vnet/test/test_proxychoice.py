"""
Tests for L{vnet.client.proxychoice}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.proxychoice import ProxyChoice, chooseProxy, parseExemptions, readPassword
from vnet.errors import ConfigurationError, DecodeError


def shown(choice: ProxyChoice) -> tuple[str, str]:
    return str(choice.proxy), choice.origin


class ChoiceTests(SynchronousTestCase):
    """
    L{chooseProxy}.
    """

    def test_none(self) -> None:
        """
        Without option and variable there is no proxy; C{http_proxy} is for other programs.
        """
        for environment in ({}, {"http_proxy": "http://p:1"}, {"https_proxy": "", "all_proxy": " "}):
            self.assertIsNone(chooseProxy(None, environment).proxy)

    def test_order(self) -> None:
        """
        Variables in lower case go before those in upper case, and C{https_proxy} before C{all_proxy}.
        """
        environment: dict[str, str] = {}
        for name, url in (
            ("ALL_PROXY", "socks5://p1:1"),
            ("all_proxy", "socks5://p2:1"),
            ("HTTPS_PROXY", "http://p3:1"),
            ("https_proxy", "http://p4:1"),
        ):
            environment[name] = url
            self.assertEqual(shown(chooseProxy(None, environment)), (url, name))

    def test_option(self) -> None:
        """
        With the option the environment does not count, neither C{no_proxy}; C{none} means none.
        """
        environment = {"https_proxy": "http://p1:1", "no_proxy": "*"}
        self.assertIsNone(chooseProxy(None, environment).proxyFor("m.example", 443))
        choice = chooseProxy("http://p2:1", environment)
        self.assertEqual(str(choice.proxyFor("m.example", 443)), "http://p2:1")
        self.assertIsNone(chooseProxy("none", environment).proxy)

    def test_refused(self) -> None:
        """
        What names a bad proxy is told, and its value is not.
        """
        error = self.assertRaises(DecodeError, chooseProxy, "http://n:sEcret@p:x", {})
        self.assertTrue(str(error).startswith("--proxy: "))
        error = self.assertRaises(DecodeError, chooseProxy, None, {"ALL_PROXY": "http://n:sEcret@p:x"})
        self.assertTrue(str(error).startswith("ALL_PROXY: "))
        self.assertIn("--proxy=none", str(error))
        self.assertNotIn("sEcret", str(error))

    def test_thisComputer(self) -> None:
        """
        No proxy is asked for this computer itself.
        """
        choice = chooseProxy("http://p:1", {})
        for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"):
            self.assertIsNone(choice.proxyFor(host, 1))
        self.assertIsNotNone(choice.proxyFor("127.example", 1))

    def test_password(self) -> None:
        """
        A password of its own goes with a proxy that has a name.
        """
        choice = chooseProxy("http://ann@p:1", {}).withPassword("s3cret")
        login = choice.proxy.login if choice.proxy else None
        self.assertEqual(login.password if login else "", "s3cret")
        self.assertRaises(DecodeError, chooseProxy("none", {}).withPassword, "x")
        self.assertNotIn("s3cret", repr(choice))


class ExemptionTests(SynchronousTestCase):
    """
    L{parseExemptions}.
    """

    def held(self, text: str, *hosts: str, port: int = 443) -> list[str]:
        exemptions = parseExemptions(text)
        return [host for host in hosts if exemptions.hold(host, port)]

    def test_names(self) -> None:
        """
        A name stands for itself and its subdomains, with a dot or a star before it or without.
        """
        hosts = ("example.org", "a.b.Example.org.", "badexample.org", "example.org.uk", "192.0.2.1")
        for text in ("example.org", ".example.org", "*.Example.org", " x , example.org. , y"):
            self.assertEqual(self.held(text, *hosts), ["example.org", "a.b.Example.org."], text)

    def test_addresses(self) -> None:
        """
        Addresses and blocks of both families are those, and no names.
        """
        hosts = ("10.1.2.3", "10.2.0.1", "192.0.2.7", "2001:db8::7", "2001:db9::1", "10.1.example")
        self.assertEqual(self.held("10.1.0.0/16,192.0.2.7", *hosts), ["10.1.2.3", "192.0.2.7"])
        self.assertEqual(self.held("10.1.9.9/16", *hosts), ["10.1.2.3"])
        self.assertEqual(self.held("2001:db8::/32", *hosts), ["2001:db8::7"])
        self.assertEqual(self.held("[2001:db9::1] 2001:db8::7", *hosts), ["2001:db8::7", "2001:db9::1"])

    def test_ports(self) -> None:
        """
        An entry with a port is for that port.
        """
        text = "example.org:443,192.0.2.1:443,[2001:db8::1]:443"
        hosts = ("example.org", "192.0.2.1", "2001:db8::1")
        self.assertEqual(self.held(text, *hosts), list(hosts))
        self.assertEqual(self.held(text, *hosts, port=7443), [])

    def test_everything(self) -> None:
        """
        A star is for everything; nonsense for nothing.
        """
        hosts = ("example.org", "192.0.2.1", "2001:db8::1")
        self.assertEqual(self.held("x,*", *hosts), list(hosts))
        self.assertEqual(self.held("", *hosts), [])
        self.assertEqual(self.held(".,:,/,[,10.0.0.0/99,:443,*.", *hosts), [])


class PasswordTests(SynchronousTestCase):
    """
    L{readPassword}.
    """

    def file(self, content: bytes, mode: int = 0o600) -> str:
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def test_read(self) -> None:
        """
        The password is the first line, in UTF-8.
        """
        for content, password in (
            (b"s3cret", "s3cret"),
            (b"s3cret\nmore", "s3cret"),
            (b" \xc3\xa4 \r\n", " \u00e4 "),
        ):
            self.assertEqual(readPassword(self.file(content)), password)

    def test_refused(self) -> None:
        """
        A file without a password, or that cannot be read, is told of by its name.
        """
        missing = str(Path(self.mktemp()))
        for path in (
            missing,
            os.sep,
            self.file(b""),
            self.file(b"\nx"),
            self.file(b"\xff"),
            self.file(b"x" * 1025),
        ):
            error = self.assertRaises(ConfigurationError, readPassword, path)
            self.assertTrue(str(error).startswith(f"--proxy-password-file={path}: "))

    def test_shared(self) -> None:
        """
        That others can read the file is told in the log.
        """
        events: list[object] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        readPassword(self.file(b"s3cret"))
        self.assertEqual(events, [])
        readPassword(self.file(b"s3cret", 0o644))
        self.assertEqual(len(events), 1)
        self.assertNotIn("s3cret", repr(events))

"""
Tests for L{vnet.client.clienttap} and L{vnet.client.clientoptions}.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.client import clienttap
from vnet.client.clienttap import ClientService, Options
from vnet.errors import ConfigurationError


class OptionsTests(SynchronousTestCase):
    """
    L{Options}.
    """

    def setUp(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/u"})

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def secret(self, content: str) -> str:
        path = Path(self.mktemp())
        path.write_text(content)
        path.chmod(0o600)
        return str(path)

    def test_defaults(self) -> None:
        """
        Without options: the control socket is in the state directory, and there is no proxy.
        """
        options = self.parse("--state=/tmp/state")
        self.assertEqual(options["socket"], "/tmp/state/control.sock")
        self.assertEqual(options["mtu"], 1440)
        self.assertIsNone(options.chosenProxies().proxy)

    def test_refused(self) -> None:
        """
        Each option that makes no sense gives one line, which holds no password.
        """
        for arguments, text in (
            (["--port=70000"], "no UDP port"),
            (["--interface=a/b"], "no interface name"),
            (["--mtu=1279"], "no MTU: use 1280 to 8940"),
            (["--mtu=9000"], "no MTU"),
            (["--mtu=x"], "no MTU"),
            (["--accept-pool=x"], "no IPv4 block"),
            (["--proxy="], "--proxy: "),
            (["--proxy=http://ann:s3cret@p:x"], "--proxy: "),
            (["--proxy=ftp://ann:s3cret@p"], "--proxy: "),
            (["--device=bridge"], "'bridge' is no kind of interface: use tap or tun"),
            (["--offload=tcp,udp"], "not possible without checksum: use checksum,tcp,udp"),
            (["--offload=checksum,uso"], "'uso' is no offload: use words of checksum,tcp,udp, or none"),
            (["--offload="], "'' is no offload"),
            (["--ether-types=ipv4"], "'ipv4' is no protocol"),
            (["--ether-types=ipx,0x0806"], "0x0806 never crosses the tunnel"),
            (["--group-rate=0"], "'0' is no rate: use 1 to 100000"),
            (["--group-rate=x"], "'x' is no rate"),
            (["--offload=none,tcp"], "'none' is no offload"),
            (["--proxy-password-file=/x"], "--proxy-password-file: there is no proxy"),
            (["--proxy=none", "--proxy-password-file=/x"], "--proxy-password-file: there is no proxy"),
            (
                ["--proxy=http://p", "--proxy-password-file=/x"],
                "--proxy-password-file: the proxy's URL has no name",
            ),
            (["--proxy=http://ann:s3cret@p", "--proxy-password-file=/x"], "has a password already"),
        ):
            with self.assertRaises(SystemExit) as caught:
                self.parse(*arguments)
            line = str(caught.exception.code)
            self.assertTrue(line.startswith("vnet-client: "), line)
            self.assertIn(text, line)
            self.assertNotIn("\n", line)
            self.assertNotIn("s3cret", line)

    def test_environment(self) -> None:
        """
        The environment names the proxy where no option does.
        """
        os.environ["https_proxy"] = "http://p1:3128"
        os.environ["no_proxy"] = "home.example"
        proxies = self.parse().chosenProxies()
        self.assertEqual(str(proxies.proxyFor("m.example", 443)), "http://p1:3128")
        self.assertIsNone(proxies.proxyFor("m.home.example", 443))
        self.assertIsNone(self.parse("--proxy=none").chosenProxies().proxy)
        self.assertEqual(str(self.parse("--proxy=socks5://p2").chosenProxies().proxy), "socks5://p2:1080")
        os.environ["https_proxy"] = "nonsense://x"
        with self.assertRaises(SystemExit) as caught:
            self.parse()
        self.assertIn("https_proxy: ", str(caught.exception.code))
        self.parse("--proxy=none")

    def test_passwordFile(self) -> None:
        """
        The password comes from the file when the service starts.
        """
        options = self.parse(
            "--proxy=http://ann@p:1", f"--proxy-password-file={self.secret('s3cret' + chr(10))}"
        )
        proxy = options.chosenProxies().proxy
        login = proxy.login if proxy is not None else None
        self.assertEqual((login.name, login.password) if login else None, ("ann", "s3cret"))
        self.assertNotIn("s3cret", repr(options))
        for path in ("/nonexistent/file", self.secret(""), self.secret("a\tb")):
            options = self.parse("--proxy=http://ann@p:1", f"--proxy-password-file={path}")
            error = self.assertRaises(ConfigurationError, options.chosenProxies)
            self.assertTrue(str(error).startswith(f"--proxy-password-file={path}: "))

    def test_help(self) -> None:
        """
        The help says that a password in the URL is seen by others.
        """
        shown = " ".join(str(self.parse()).split())
        self.assertIn("NAME:PASSWORD@ works too, but every user of this computer sees it", shown)

    def test_service(self) -> None:
        """
        Building the service touches nothing.
        """
        directory = Path(self.mktemp())
        service = ClientService(MemoryReactorClock(), self.parse(f"--state={directory}"))
        self.assertTrue(verifyObject(IService, service))
        self.assertFalse(directory.exists())


class StartTests(SynchronousTestCase):
    """
    L{ClientService}, without a node.
    """

    def setUp(self) -> None:
        options = Options()
        options.parseOptions([f"--state={self.mktemp()}"])
        self.clock = MemoryReactorClock()
        self.service = ClientService(self.clock, options)
        self.service._opened = True
        self.addCleanup(gc.unfreeze)

    def test_givesBack(self) -> None:
        """
        Once, when all is settled, what only the start has touched is given back.
        """
        given: list[int] = []
        self.patch(clienttap, "giveBack", lambda known: given.append(len(known)))
        self.service.startService()
        self.clock.advance(9)
        self.assertEqual(given, [])
        self.clock.advance(1)
        (areas,) = given
        self.assertGreater(areas, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stoppedBefore(self) -> None:
        """
        A service that is stopped before that leaves nothing behind.
        """
        self.service.startService()
        stopped = self.service.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

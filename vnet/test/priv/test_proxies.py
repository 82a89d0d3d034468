"""
Nodes that reach nothing but a proxy, and nodes for which port 7443 is blocked: proxies that others wrote, the real programs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.url import MediatorUrl, parseMediatorUrl
from vnet.test.netlab import Home, Host
from vnet.test.netlab._system import batch
from vnet.test.priv.authority import Authority
from vnet.test.priv.cluster import Cluster, Mediator, Node, waitUntil
from vnet.test.priv.daemons import listens, refusal
from vnet.test.priv.proxies import NAME, PASSWORD, USER, Proxies

_AT_ONCE = 3.0
_SECRET = "shared with the relay"


@pytest.mark.timeout(120)
@pytest.mark.commands("squid", "danted", "turnserver", "unshare")
class ProxyTests(SynchronousTestCase):
    """
    A mediator and a relay on port 443, and homes out of which only proxies are reached: one node for each kind of proxy.
    """

    cluster: ClassVar[Cluster]
    mediator: ClassVar[Mediator]
    proxies: ClassVar[Proxies]
    relay: ClassVar[Host]
    home: ClassVar[Home]
    other: ClassVar[Home]
    good: ClassVar[dict[str, Node]]
    wrong: ClassVar[dict[str, Node]]
    direct: ClassVar[Node]
    entered: ClassVar[set[Node]]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start all of it.
        """
        # A name that nobody resolves fails soon.
        os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
        cls.entered = set()
        cls.cluster = cluster = Cluster("proxies")
        cluster.__enter__()
        try:
            cls.build()
        except BaseException as error:
            cluster.__exit__(type(error), error, None)
            raise

    @classmethod
    def build(cls) -> None:
        """
        The mediator, the proxies, and the nodes.
        """
        lab = cls.cluster.lab
        cls.relay = lab.addHost("relay")
        secret = lab.directory / "secret"
        secret.write_text(_SECRET)
        uri = f"turn:{cls.relay.address}:443?transport=tcp"
        cls.mediator = cls.cluster.startMediator(
            "--listen=tcp:443", f"--relay={uri}", f"--relay-secret-file={secret}", wait=False
        )
        host = lab.addHost("proxy")
        authority = Authority(lab.directory)
        cls.proxies = Proxies(host, lab.directory / "proxies", authority, cls.mediator.host.address)
        cls.home, cls.other = (lab.addHome(name, nat="proxy-only") for name in ("first", "second"))
        password, ports, where = cls.passwordFile("right", PASSWORD), cls.proxies.ports, host.address
        cls.good = {
            "open": cls.nodeOf("open", f"--proxy=http://{where}:{ports.open}"),
            "basic": cls.nodeOf("basic", f"--proxy=http://{USER}@{where}:{ports.basic}", password),
            "digest": cls.nodeOf("digest", f"--proxy=http://{USER}@{where}:{ports.digest}", password),
            "socks": cls.nodeOf("socks", f"--proxy=socks5://{where}:{ports.socks}"),
            "login": cls.nodeOf("login", f"--proxy=socks5://{USER}@{where}:{ports.socksLogin}", password),
        }
        found = {"SSL_CERT_FILE": str(authority.root), "HTTPS_PROXY": f"https://{where}:{ports.tls}"}
        cls.good["tls"] = cls.nodeOf("tls", variables=found)
        bad = cls.passwordFile("wrong", "wr0ng")
        cls.wrong = {
            "basic": cls.nodeOf("nobasic", f"--proxy=http://{USER}@{where}:{ports.basic}", bad),
            "digest": cls.nodeOf("nodigest", f"--proxy=http://{USER}@{where}:{ports.digest}", bad),
            "socks": cls.nodeOf("nologin", f"--proxy=socks5://{USER}@{where}:{ports.socksLogin}", bad),
        }
        cls.direct = cls.cluster.addNode("direct", where=lab.addHome("direct", nat="tcp443-only"), wait=False)
        cls.proxies.start()
        cls.startRelay()
        for daemon in cls.cluster.daemons:
            daemon.waitReady()

    @classmethod
    def startRelay(cls) -> None:
        """
        Start coturn.
        """
        here = cls.relay.address
        options = [
            "-n",
            "--use-auth-secret",
            f"--static-auth-secret={_SECRET}",
            "--realm=relay.example",
            "--no-cli",
        ]
        options += [
            f"--listening-ip={here}",
            f"--relay-ip={here}",
            "--listening-port=443",
            "--no-tls",
            "--no-dtls",
        ]
        directory = cls.cluster.lab.directory
        options += ["--log-file=stdout", f"--pidfile={directory / 'turnserver.pid'}"]
        with (directory / "turnserver.log").open("w") as log:
            process = cls.relay.popen(["turnserver", *options], stdout=log, stderr=log, cwd=directory)
        waitUntil(lambda: listens(process, 443), 10, "the relay listens")

    @classmethod
    def passwordFile(cls, name: str, password: str) -> str:
        """
        @return: the option that names the file.
        """
        path: Path = cls.cluster.lab.directory / name
        path.write_text(password + "\n")
        path.chmod(0o600)
        return f"--proxy-password-file={path}"

    @classmethod
    def nodeOf(cls, name: str, *options: str, variables: dict[str, str] | None = None) -> Node:
        """
        Start a node in a home.
        """
        home = cls.other if name == "login" else cls.home
        host = home.addHost(f"n-{name}")
        return cls.cluster.addNode(name, *options, where=host, wait=False, variables=variables)

    @classmethod
    def tearDownClass(cls) -> None:
        """
        All that logged in are online still, and no log has a traceback, or a password.
        """
        try:
            for node in cls.entered:
                waitUntil(lambda: node.status()["state"] == "online", 10, f"{node.name} is online")  # noqa: B023
            logs = "".join(daemon.log.read_text() for daemon in cls.cluster.daemons)
            if PASSWORD in logs or "wr0ng" in logs:
                raise AssertionError("a password is in a log")
        except BaseException as error:
            error.add_note(cls.proxies.logs())
            cls.cluster.__exit__(type(error), error, None)
            raise
        cls.cluster.__exit__(None, None, None)

    def url(self, host: str = "", port: int = 443) -> str:
        """
        The mediator's URL, with another host or port.
        """
        right = parseMediatorUrl(self.mediator.url)
        return str(MediatorUrl(host or right.host, port, right.pin))

    def online(self, node: Node, url: str) -> float:
        """
        Log in.

        @return: how many seconds that took.
        """
        began = time.monotonic()
        node.login(url)
        self.entered.add(node)
        self.assertEqual(node.status()["state"], "online")
        return time.monotonic() - began

    def onlineSoon(self, node: Node, url: str, seconds: float = _AT_ONCE) -> None:
        """
        Log in within so many seconds; again, where other programs have made it slow.
        """
        took = [self.online(node, url)]
        while min(took) > seconds and len(took) < 5:
            node.vnet("logout")
            took.append(self.online(node, url))
        self.assertLess(min(took), seconds)

    def test_eachProxy(self) -> None:
        """
        A node that reaches nothing but a proxy logs in through it: squid without a login, with Basic and Digest and over TLS,
        dante without a login and with name and password.
        """
        self.assertEqual(len(self.good), 6)
        for kind, node in self.good.items():
            with self.subTest(kind):
                self.onlineSoon(node, self.url())

    def test_nameOfProxy(self) -> None:
        """
        A name that only the proxy can resolve is good enough.
        """
        for kind in ("digest", "login"):
            with self.subTest(kind):
                node = self.good[kind]
                self.onlineSoon(node, self.url(NAME), _AT_ONCE + 1)

    def test_port443(self) -> None:
        """
        Where the proxy connects to port 443 only, a URL with port 7443 leads to the mediator all the same, and at once.
        """
        for kind in ("open", "socks"):
            with self.subTest(kind):
                self.onlineSoon(self.good[kind], self.url(port=7443))

    def test_wrongPassword(self) -> None:
        """
        A wrong password is one line, which says which proxy refuses it.
        """
        for kind, node in self.wrong.items():
            with self.subTest(kind):
                line = refusal(node.login, self.url(), code=3)
                self.assertIn("refuses the name or the password", line)
                self.assertIn(self.proxies.host.address, line)
                self.assertNotIn("wr0ng", line)
                self.assertEqual(node.status()["state"], "offline")

    def test_refused(self) -> None:
        """
        What the proxy refuses is one line, about the port of the URL.
        """
        nobody = self.proxies.host.address
        for kind in ("open", "socks"):
            with self.subTest(kind):
                line = refusal(self.good[kind].login, self.url(nobody, 7443), code=3)
                self.assertIn(f"does not allow connections to {nobody}:7443", line)
                self.assertIn("port 443 was tried too", line)

    def test_blocked(self) -> None:
        """
        Without a proxy, where a firewall lets only port 443 through, the mediator is reached there after 2 s, and at once the
        next time.
        """
        took = self.online(self.direct, self.url(port=7443))
        self.assertLess(took, 2 + 2 * _AT_ONCE)
        self.direct.vnet("logout")
        self.onlineSoon(self.direct, self.url(port=7443), 2)

    def test_relayed(self) -> None:
        """
        Two nodes, each of which reaches nothing but a proxy, reach each other through a relay on port 443.
        """
        alice, bob = self.good["open"], self.good["login"]
        for node in (alice, bob):
            self.online(node, self.url())
        alice.create("family", "correct horse")
        bob.join("family", "correct horse")
        bob.waitPing(alice.address)
        seen = bob.peer(alice.address)
        self.assertEqual((seen["path"], seen["transport"]), ("relayed", "tcp"))
        self.keptOut(alice, bob)

    def keptOut(self, alice: Node, bob: Node) -> None:
        """
        Alice does not use a LAN of Bob's that holds her proxy.
        """
        proxy = f"{self.proxies.host.address}/32"
        gateway = bob.host.run(["ip", "route", "show", "default"]).stdout.split()[2]
        batch([f"route add {proxy} via {gateway}"], bob.host.namespace)
        bob.vnet("share-lan", proxy)
        alice.vnet("accept-lan", bob.address, proxy)
        line = refusal(alice.vnet, "use-lan", bob.address, proxy)
        self.assertIn(f"holds {self.proxies.host.address}, which this node needs", line)
        self.assertEqual(alice.status()["state"], "online")

    def test_restart(self) -> None:
        """
        When the mediator restarts, nodes behind proxies come back.
        """
        node = self.good["basic"]
        self.online(node, self.url())
        self.mediator.restart()
        waitUntil(lambda: node.status()["state"] == "online", 30, "it is back")

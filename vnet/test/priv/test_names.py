"""
Names of members in programs that others wrote, on hosts with systemd-resolved, with Avahi, and with neither.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host, stop
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.daemons import environment
from vnet.test.priv.resolving import Resolving

ROUNDS = 20

# Answers each question with NXDOMAIN, and writes down what it was.
_UPSTREAM = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
while True:
    data, address = server.recvfrom(4096)
    print(data[12:], flush=True)
    question = data[12 : data.index(b"\\0", 12) + 5]
    server.sendto(data[:2] + b"\\x81\\x83\\0\\1" + bytes(6) + question, address)
"""
_LOOKUPS = """
import json, socket, sys, urllib.request
name, address, page = sys.argv[1:]
print(json.dumps({
    "addresses": sorted({each[4][0] for each in socket.getaddrinfo(name, None)}),
    "name": socket.gethostbyaddr(address)[0],
    "page": urllib.request.urlopen(page, timeout=5).status,
}))
"""
# What a browser shows of it, it has fetched and run.
_PAGE = """<!DOCTYPE html><title>A page</title><p></p>
<script>document.querySelector("p").textContent = "This is " + location.host</script>
"""
_RUNS = """
import sys
sys.path.insert(0, sys.argv[1])
from vnet.client.names.resolved import Resolved
print(Resolved(None).runs())
"""
# Starts a client for each line that it reads, without importing everything anew, and says how each ended.
_STARTER = """
import os, sys
import twisted.application.app, twisted.scripts.twistd, vnet.client.clienttap
for line in sys.stdin:
    child = os.fork()
    if not child:
        log, *options = line.split()
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.argv = ["twistd", "-n", "--pidfile=", "vnet-client", *options]
        twisted.scripts.twistd.run()
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.timeout(300)
@pytest.mark.commands("dig", "getent", "unshare", "dbus-daemon", "chromium")
class NameTests(SynchronousTestCase):
    """
    Ann's host has systemd-resolved, Bob's has Avahi; both are members of C{home}.
    """

    cluster: ClassVar[Cluster]
    upstream: ClassVar[Host]
    ann: ClassVar[Node]
    bob: ClassVar[Node]
    addresses: ClassVar[dict[str, str]]
    addresses6: ClassVar[dict[str, str]]
    resolved: ClassVar[Resolving]
    avahi: ClassVar[Resolving]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start all of it.
        """
        cls.cluster = cluster = Cluster("names")
        cluster.__enter__()
        try:
            cls.build()
        except BaseException as error:
            cluster.__exit__(type(error), error, None)
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.cluster.__exit__(None, None, None)

    @classmethod
    def build(cls) -> None:
        """
        Start the hosts' programs, and the nodes.
        """
        cluster = cls.cluster
        cluster.startMediator(wait=False)
        cls.upstream = cluster.lab.addHost("upstream")
        with (cluster.lab.directory / "upstream.log").open("w") as log:
            cls.upstream.popen([sys.executable, "-c", _UPSTREAM], stdout=log)
        servers = f"nameserver {cls.upstream.address}\n"
        directory = cluster.lab.directory
        cls.resolved = Resolving.on(cluster.lab.addHost("ann"), directory / "ann-host", "resolve", servers)
        cls.resolved.startResolved()
        cls.avahi = Resolving.on(cluster.lab.addHost("bob"), directory / "bob-host", "mdns4 dns", servers)
        cls.ann, cls.bob = cls.makeNode("ann", cls.resolved), cls.makeNode("bob", cls.avahi)
        for node in (cls.ann, cls.bob):
            cluster.daemons.append(node)
            node.spawn()
        if cluster.mediator is not None:
            cluster.mediator.waitReady()
        for node in (cls.ann, cls.bob):
            node.waitReady()
            node.vnet("set-nick", node.name.title())
            node.login()
        cls.ann.create("Home")
        cls.bob.join("Home")
        cls.ann.waitPath(cls.bob)
        waitUntil(lambda: cls.ann.ask("status")["names"]["by"] == "resolved", 10, "systemd-resolved is told")
        cls.avahi.startAvahi("bobs-host")
        known = {node.name: node.ask("status") for node in (cls.ann, cls.bob)}
        cls.addresses = {name: status["address"] for name, status in known.items()}
        cls.addresses6 = {name: status["address6"] for name, status in known.items()}

    @classmethod
    def makeNode(cls, name: str, place: Resolving) -> Node:
        """
        A node in a host's place, not started.
        """
        state = cls.cluster.lab.directory / name
        options = [f"--socket={state / 'control.sock'}"]
        return Node(
            name,
            place.host,
            state,
            "vnet-client",
            options,
            cls.cluster.mediator,
            prefix=place.prefix,
            variables=place.variables,
        )

    def asked(self) -> str:
        """
        What the upstream name server was asked.
        """
        return (self.cluster.lab.directory / "upstream.log").read_text()

    def dig(self, place: Resolving, server: str, *arguments: str) -> str:
        return place.run("dig", f"@{server}", "+time=5", "+tries=1", *arguments).stdout

    def test_resolved(self) -> None:
        """
        With systemd-resolved C{getent}, Python and a fetch of a page find Bob by each of his names, and his name by his
        address; other names are asked upstream, and ours never.
        """
        place, before = self.resolved, len(self.asked())
        bob, bob6 = self.addresses["bob"], self.addresses6["bob"]
        for name in ("bob.home.vnet", "bob.vnet", "BOB.Home.vnet"):
            self.assertEqual(place.said("getent", "ahostsv4", name).split()[:1], [bob])
            self.assertEqual(place.said("getent", "ahostsv6", name).split()[:1], [bob6])
        for address in (bob, bob6):
            self.assertEqual(place.said("getent", "hosts", address).split()[1:], ["bob.vnet"])
        self.assertEqual(place.said("getent", "hosts", self.addresses["ann"]).split()[1:], ["ann.vnet"])
        page = self.serve(self.avahi, bob)
        url = "http://bob.home.vnet:8000/"
        found = json.loads(place.said(sys.executable, "-c", _LOOKUPS, "bob.home.vnet", bob, url))
        stop(page)
        expected = {"addresses": sorted([bob, bob6]), "name": "bob.vnet", "page": 200}
        self.assertEqual(found, expected)
        for name in ("eve.vnet", "eve.home.vnet", "home.vnet", "other.example"):
            self.assertEqual(place.run("getent", "hosts", name).returncode, 2, name)
        asked = self.asked()[before:]
        self.assertIn("example", asked)
        self.assertNotIn("vnet", asked)
        self.assertNotIn("arpa", asked)
        (network,) = self.ann.ask("list")["networks"]
        self.assertEqual([member["name"] for member in network["members"]], ["bob.home.vnet"])

    def serve(self, place: Resolving, address: str) -> subprocess.Popen[str]:
        """
        Have a page on port 8000 of a node.
        """
        directory = place.directory / "page"
        directory.mkdir(exist_ok=True)
        (directory / "index.html").write_text(_PAGE)
        argv = ["-m", "http.server", "8000", "--bind", address, "--directory", str(directory)]
        server = place.begin("web.log", sys.executable, *argv)
        self.addCleanup(stop, server)
        waitUntil(lambda: "8000" in place.host.run(["ss", "-Hltn"]).stdout, 20, f"{address} has a page")
        return server

    def test_browser(self) -> None:
        """
        Chromium shows Bob's page by each of his names with systemd-resolved, and Ann's by C{ann.local} with Avahi; after
        the end of Ann's node it does not find Bob.
        """
        self.serve(self.avahi, self.addresses["bob"])
        self.serve(self.resolved, self.addresses["ann"])
        before = len(self.asked())
        for place, name in (
            (self.resolved, "bob.home.vnet"),
            (self.resolved, "bob.vnet"),
            (self.avahi, "ann.local"),
        ):
            shown, said = place.browse(f"http://{name}:8000/")
            self.assertIn(f"<p>This is {name}:8000</p>", shown, said)
        self.assertNotIn("vnet", self.asked()[before:])
        self.ann.stop()
        self.addCleanup(self.again)
        shown, said = self.resolved.browse("http://bob.home.vnet:8000/")
        self.assertNotIn("This is", shown)
        self.assertIn("ERR_NAME_NOT_RESOLVED", said)

    def again(self) -> None:
        """
        Start Ann's node again.
        """
        self.ann.start()
        self.ann.waitPath(self.bob)
        waitUntil(lambda: self.ann.ask("status")["names"]["by"] == "resolved", 10, "systemd-resolved is told")

    def test_elsewhere(self) -> None:
        """
        A systemd-resolved in another network namespace, where the number of the interface is that of another one, is left
        alone.
        """
        for host, runs in ((self.resolved.host, "True"), (self.bob.host, "False")):
            place = Resolving(host, self.resolved.directory)
            self.assertEqual(place.said(sys.executable, "-c", _RUNS, str(ROOT)), runs)

    def test_dig(self) -> None:
        """
        C{dig} on the computer itself gets answers over UDP and TCP, an SOA with NXDOMAIN, and no help with other names; a
        peer gets nothing.
        """
        server, place = self.addresses["bob"], self.avahi
        for transport in ("+notcp", "+tcp"):
            out = self.dig(place, server, transport, "ann.home.vnet")
            self.assertIn("status: NOERROR", out)
            self.assertRegex(out, rf"ann\.home\.vnet\.\s+\d+\s+IN\s+A\s+{self.addresses['ann']}\n")
            self.assertIn(" aa ", out)
        self.assertIn("ann.vnet.", self.dig(place, server, "+short", "-x", self.addresses["ann"]))
        self.assertIn("ann.vnet.", self.dig(place, server, "+short", "-x", self.addresses6["ann"]))
        self.assertIn(
            self.addresses6["ann"], self.dig(place, self.addresses6["bob"], "+short", "AAAA", "ann.vnet")
        )
        out = self.dig(place, server, "eve.vnet")
        self.assertIn("status: NXDOMAIN", out)
        self.assertRegex(out, r"vnet\.\s+\d+\s+IN\s+SOA\s+dns\.vnet\.")
        self.assertIn("status: REFUSED", self.dig(place, server, "example.org"))
        self.assertIn(server, self.dig(place, server, "+short", "bob.home.vnet"))
        for transport in ("+notcp", "+tcp"):
            self.assertNotIn(
                "status:", self.dig(self.resolved, server, transport, "+time=1", "ann.home.vnet")
            )

    def test_neither(self) -> None:
        """
        A C{resolv.conf} that the user himself points to the node's server has the names for C{getent}.
        """
        before = self.avahi.resolvConf.read_bytes()
        self.avahi.resolvConf.write_text(f"nameserver {self.addresses['bob']}\n")
        self.addCleanup(self.avahi.resolvConf.write_bytes, before)
        self.assertEqual(
            self.avahi.said("getent", "ahostsv4", "ann.home.vnet").split()[:1], [self.addresses["ann"]]
        )
        self.assertEqual(self.avahi.run("getent", "hosts", "eve.home.vnet").returncode, 2)

    def test_multicast(self) -> None:
        """
        Without systemd-resolved Avahi finds Ann as C{ann.local}, and her name by her address; Avahi's own names stay its own.
        """
        status = self.bob.ask("status")["names"]
        self.assertEqual((status["by"], status["name"]), ("mdns", "bob.vnet"))
        found = waitUntil(lambda: self.avahi.said("getent", "hosts", "ann.local"), 10, "Avahi finds Ann")
        self.assertEqual(found.split()[:1], [self.addresses["ann"]])
        self.assertEqual(self.avahi.said("getent", "hosts", self.addresses["ann"]).split()[1:], ["ann.local"])
        self.assertTrue(self.avahi.said("getent", "hosts", "bobs-host.local"))
        self.assertNotIn("conflict", (self.avahi.directory / "avahi.log").read_text().lower())

    def test_cycles(self) -> None:
        """
        In 20 rounds of start, kill -9, start and stop, after each end: C{resolv.conf} and the routes are what they were,
        systemd-resolved knows of no zone, and the interface is gone.
        """
        directory = self.cluster.lab.directory
        host = self.cluster.lab.addHost("zoe")
        place = Resolving.on(host, directory / "zoe-host", "resolve", f"nameserver {self.upstream.address}\n")
        place.startResolved()
        # In turns: the mediator lets one node log in 20 times in a row.
        nodes = [self.makeNode(f"zoe{number}", place) for number in range(3)]
        starter = host.popen(
            [*place.prefix, sys.executable, "-c", _STARTER],
            env={**environment(directory), **place.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        before = self.picture(place)
        self.assertIn("default via", before)
        for number in range(ROUNDS):
            node = nodes[number % len(nodes)]
            for end in (signal.SIGKILL, signal.SIGTERM):
                child = self.startByFork(starter, node, isNew=number < len(nodes) and end == signal.SIGKILL)
                if not number:
                    status = node.ask("status")
                    found = place.said("getent", "ahostsv4", status["names"]["name"])
                    self.assertEqual(found.split()[:1], [status["address"]])
                os.kill(child, end)
                self.assertEqual(int(self.lineOf(starter)), -end, node.tail())
                self.assertEqual(self.picture(place), before)
        self.assertEqual(place.run("getent", "hosts", status["names"]["name"]).returncode, 2)
        self.assertEqual([node.name for node in nodes if "Traceback" in node.tail(1_000_000)], [])

    def startByFork(self, starter: subprocess.Popen[str], node: Node, isNew: bool) -> int:
        """
        Start a node, and wait until its names are known.

        @return: its process.
        """
        node.state.mkdir(mode=0o700, exist_ok=True)
        print(node.log, f"--state={node.state}", *node.options, file=starter.stdin, flush=True)
        child = int(self.lineOf(starter))
        if isNew:
            waitUntil(node.ready, 20, f"{node.name} is ready")
            node.login()
        waitUntil(
            lambda: node.ask("status")["names"]["by"] == "resolved", 20, "systemd-resolved is told", 0.02
        )
        return child

    def lineOf(self, process: subprocess.Popen[str]) -> str:
        self.assertIsNotNone(process.stdout)
        return process.stdout.readline() if process.stdout else ""

    def picture(self, place: Resolving) -> str:
        """
        What must be the same after each end.
        """
        shown = "ip -brief link; ip route show table all; ip -6 route show table all; ip rule; resolvectl dns; resolvectl domain"
        return place.resolvConf.read_text() + place.said("sh", "-c", shown)

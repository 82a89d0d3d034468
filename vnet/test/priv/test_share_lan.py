"""
Two home LANs joined through two members, with the real programs: plain hosts fetch pages from each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import Refused
from vnet.test.netlab import Home, Host
from vnet.test.netlab._system import batch, configure
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.daemons import refusal

pytestmark = pytest.mark.privileged

# How long something may take that is done by then.
SOON = 10.0
PORT = 8080


def fetch(host: Host, address: str, timeout: float = 3.0) -> str:
    """
    @return: the page that a host fetches from another; empty: it gets none.
    """
    argv = ["curl", "-s", "--noproxy", "*", "-m", str(timeout), f"http://{address}:{PORT}/page"]
    return host.run(argv, check=False, timeout=10).stdout


def left(host: Host) -> str:
    """
    What the program may change of a computer: routes of all tables, rules of all programs, forwarding.
    """
    script = (
        "ip route show table all | sort; ip -6 route show table all | sort; nft list ruleset;"
        " grep -r . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding | sort"
    )
    return host.run(["sh", "-c", script]).stdout


#: What Docker leaves of the table that iptables makes (docs.docker.com, packet filtering and firewalls).
DOCKER = """table ip filter {
chain DOCKER-USER {
}
chain FORWARD {
type filter hook forward priority filter; policy drop;
counter jump DOCKER-USER
oifname "docker0" ct state related,established counter accept
iifname "docker0" oifname != "docker0" counter accept
}
}
"""
#: And firewalld, at its end.
FIREWALLD = """table inet firewalld {
chain filter_FORWARD {
type filter hook forward priority filter + 10; policy accept;
ct state { established, related } accept
ct state invalid drop
jump filter_FORWARD_POLICIES
reject with icmpx type admin-prohibited
}
chain filter_FORWARD_POLICIES {
iifname "eth9" accept
}
}
"""


class Server:
    """
    A plain host that serves a page, and what it has seen of those who fetch it.
    """

    def __init__(self, host: Host, directory: str) -> None:
        self.host = host
        host.run(["sh", "-c", f"mkdir {directory} && echo 'the page of {host.name}' > {directory}/page"])
        argv = [sys.executable, "-u", "-m", "http.server", str(PORT), "--bind=::", "--directory", directory]
        self._log = f"{directory}.log"
        with open(self._log, "w", encoding="utf-8") as log:
            host.popen(argv, stdout=log, stderr=subprocess.STDOUT)
        waitUntil(lambda: fetch(host, "127.0.0.1"), SOON, f"{host.name} serves")

    def seen(self) -> set[str]:
        """
        The addresses of those who have fetched it.
        """
        with open(self._log, encoding="utf-8") as log:
            found = {line.split()[0].removeprefix("::ffff:") for line in log if "GET" in line}
        return found - {"127.0.0.1"}


def lanOf(node: Node, prefix: str) -> dict[str, Any]:
    """
    What a node says of a LAN.
    """
    lans = node.ask("share-lan", prefix=None, network=None, stop=False)["lans"]
    return next((dict(lan) for lan in lans if lan["prefix"] == prefix), {"state": "none"})


@pytest.mark.timeout(180)
class ShareLanTests(SynchronousTestCase):
    """
    Alice owns the network, and is in the LAN of the plain host near; Bob is in that of far.
    """

    def test_sharedLans(self) -> None:
        """
        Plain hosts and nodes reach the other LAN as soon as all agree, not before and not after; what overlaps is refused; all is
        there again after a crash, and as it was before after a logout and at the end.
        """
        with Cluster("lans") as cluster:
            cluster.startMediator(wait=False)
            homes = [cluster.lab.addHome(name) for name in ("alice", "bob")]
            self.before = [left(home.host) for home in homes]
            self.alice, self.bob = (cluster.addNode(home.host.name, where=home, wait=False) for home in homes)
            self.near, self.far = homes[0].addHost("near"), homes[1].addHost("far")
            self.lans = [str(home.network) for home in homes]
            self.tellOfOtherLan(homes)
            directory = cluster.lab.directory
            self.servers = [
                Server(host, str(directory / f"{host.name}-web")) for host in (self.near, self.far)
            ]
            for daemon in cluster.daemons:
                daemon.waitReady()
            self.join()
            self.begin()
            self.firstPacket()
            self.pages()
            self.otherFirewalls()
            self.overlap()
            self.end()
            self.crash()
            self.nothingLeft()

    def tellOfOtherLan(self, homes: list[Home]) -> None:
        """
        In the first home the router knows the way to the other LAN, in the second one the plain host itself.
        """
        batch([f"route add {self.lans[1]} via {homes[0].host.address}"], homes[0].router.namespace)
        batch([f"route add {self.lans[0]} via {homes[1].host.address}"], self.far.namespace)

    def join(self) -> None:
        """
        Both are in one network, and have a path.
        """
        for node in (self.alice, self.bob):
            node.ask("set-nick", nick=node.name)
            node.ask("login", url=node.mediator.url if node.mediator else "")
        self.alice.ask("create", network="family", password=None)
        self.bob.ask("join", network="family", password=None)
        self.alice.waitPath(self.bob)

    def begin(self) -> None:
        """
        Without the owner's word and that of the member nothing passes.
        """
        first, second = self.lans
        self.assertEqual("shared", self.alice.vnet("share-lan", first)["state"])
        self.assertEqual("offered", self.bob.vnet("share-lan", second)["state"])
        self.assertIn("not accepted", refusal(self.alice.vnet, "use-lan", "bob", second))
        self.assertIn("only the owner", self.refusal(self.bob, "accept-lan", first, member="alice"))
        self.alice.vnet("accept-lan", self.bob.address, second)
        waitUntil(lambda: self.lan(self.bob, second)["state"] == "shared", SOON, "bob's LAN is shared")
        self.assertEqual("", fetch(self.alice.host, self.far.address, 0.5))
        self.assertEqual("used", self.alice.vnet("use-lan", "bob", second)["state"])
        self.assertEqual("used", self.bob.vnet("use-lan", self.alice.address, first)["state"])
        self.assertIn(f"LAN {second} used", self.alice.text("list"))

    def firstPacket(self) -> None:
        """
        The first packet after C{use-lan} arrives, also where the owner has accepted the LAN just before, ten times out of ten.
        """
        second, bob = self.lans[1], self.bob.host
        # Else the kernel answers about one datagram a second that has lived too long.
        configure(bob.namespace, {"ipv4/icmp_ratelimit": 0})
        lost = []
        for number in range(10):
            self.use(self.alice, "bob", second, stop=True)
            for stop in (True, False):
                self.alice.ask("accept-lan", member="bob", prefix=second, network=None, stop=stop)
            self.use(self.alice, "bob", second)
            ping = ["ping", "-n", "-c1", "-W2", self.far.address]
            lost += [number] if self.alice.host.run(ping, check=False).returncode else []
        configure(bob.namespace, {"ipv4/icmp_ratelimit": 1000})
        self.assertEqual([], lost)

    def lan(self, node: Node, prefix: str) -> dict[str, Any]:
        """
        What a node says of a LAN.
        """
        return lanOf(node, prefix)

    def share(self, node: Node, prefix: str, stop: bool = False) -> dict[str, Any]:
        """
        C{vnet share-lan}, without a process.
        """
        return node.ask("share-lan", prefix=prefix, network="family", stop=stop)

    def use(self, node: Node, member: str, prefix: str, stop: bool = False) -> dict[str, Any]:
        """
        C{vnet use-lan}, without a process.
        """
        return node.ask("use-lan", member=member, prefix=prefix, network=None, stop=stop)

    def refusal(self, node: Node, verb: str, prefix: str, **arguments: Any) -> str:
        """
        Why a node refuses.
        """
        named = {"prefix": prefix, "network": None, "stop": False, **arguments}
        return str(self.assertRaises(Refused, node.ask, verb, **named))

    def pages(self) -> None:
        """
        Plain hosts fetch from each other, and a node from a plain host; each sees the member that is next to it.
        """
        for who in (self.near, self.alice.host):
            self.assertEqual("the page of far\n", fetch(who, self.far.address))
        for who in (self.far, self.bob.host):
            self.assertEqual("the page of near\n", fetch(who, self.near.address))
        seen = [server.seen() for server in self.servers]
        self.assertEqual([{self.alice.host.address}, {self.bob.host.address}], seen)

    def otherFirewalls(self) -> None:
        """
        A firewall that begins to drop what is forwarded is told of everywhere, with what to type; when that is done, no more.
        """
        first, why = self.lans[0], "sudo iptables -I DOCKER-USER"
        argv = self.alice._argv(("--json", "watch"))
        watching = self.alice.host.popen(argv, stdout=subprocess.PIPE, cwd=self.alice.state)
        assert watching.stdout is not None
        self.assertEqual("watching", json.loads(watching.stdout.readline())["event"])
        self.nft(self.alice, DOCKER)
        waitUntil(lambda: self.lan(self.alice, first)["why"], SOON, "Docker's rules are seen")
        lan = self.lan(self.alice, first)
        self.assertEqual("shared", lan["state"])
        self.assertIn(
            "(Docker) drops what is forwarded: the chain FORWARD of the table ip filter", lan["why"]
        )
        self.assertEqual(lan, self.alice.ask("status")["lanProblems"][0])
        self.assertIn(f"{why} -o vnet0 -s {first} -j ACCEPT", self.alice.text("status"))
        self.assertIn(f"{why} -i vnet0 -d {first} -j ACCEPT", self.alice.text("share-lan"))
        self.assertEqual("", fetch(self.bob.host, self.near.address, 0.5))
        # What iptables makes of the one and the other.
        for rule in (f'iifname "vnet0" ip daddr {first}', f'oifname "vnet0" ip saddr {first}'):
            self.assertTrue(self.lan(self.alice, first)["why"])
            self.nft(self.alice, f"insert rule ip filter DOCKER-USER {rule} counter accept")
        waitUntil(lambda: not self.lan(self.alice, first)["why"], SOON, "it is let through")
        self.assertEqual("the page of near\n", fetch(self.bob.host, self.near.address))
        self.nft(self.alice, FIREWALLD)
        waitUntil(lambda: self.lan(self.alice, first)["why"], SOON, "firewalld's rules are seen")
        self.assertEqual("", fetch(self.bob.host, self.near.address, 0.5))
        self.assertIn("--zone=trusted", self.lan(self.alice, first)["help"][0])
        self.nft(self.alice, 'add rule inet firewalld filter_FORWARD_POLICIES iifname "vnet0" accept')
        waitUntil(lambda: not self.lan(self.alice, first)["why"], SOON, "the zone lets it through")
        self.assertEqual("the page of near\n", fetch(self.bob.host, self.near.address))
        self.nft(self.alice, "delete table inet firewalld; delete table ip filter")
        told = [json.loads(watching.stdout.readline()) for _ in range(4)]
        watching.kill()
        self.assertEqual(
            [("lanProblem", first, isTold) for isTold in (True, False, True, False)],
            [(each["event"], each.get("prefix"), bool(each.get("why"))) for each in told],
        )
        self.assertIn(why, told[0]["help"][0])

    def nft(self, node: Node, script: str) -> None:
        """
        Change the rules of a computer, as another program does.
        """
        node.host.run(["nft", "-f", "-"], text=script)

    def overlap(self) -> None:
        """
        What overlaps is refused with the reason at each place; a network of this computer that comes later wins, until it is gone.
        """
        first = self.lans[0]
        self.assertIn("members have their addresses", self.refusal(self.bob, "share-lan", "100.64.0.0/16"))
        self.assertIn("that is", refusal(self.bob.vnet, "share-lan", f"{self.bob.host.address}/24"))
        self.assertIn("not connected", self.refusal(self.bob, "share-lan", "10.9.0.0/16"))
        address = f"{first.removesuffix('.0/24')}.200"
        batch(["link add other type bridge", f"addr add {address}/25 dev other"], self.bob.host.namespace)
        batch(["link set other up"], self.bob.host.namespace)
        waitUntil(lambda: self.lan(self.bob, first)["state"] == "blocked", SOON, "bob's own network wins")
        self.assertIn(f"{first} overlaps", self.lan(self.bob, first)["why"])
        own = f"{first.removesuffix('.0/24')}.128/25"
        self.share(self.bob, own)
        self.assertIn(f"overlaps {first}", self.refusal(self.alice, "accept-lan", own, member="bob"))
        self.share(self.bob, own, stop=True)
        self.use(self.bob, "alice", first, stop=True)
        self.assertIn("a network of this computer", self.refusal(self.bob, "use-lan", first, member="alice"))
        batch(["link del other"], self.bob.host.namespace)
        self.use(self.bob, "alice", first)
        self.assertEqual("the page of near\n", fetch(self.far, self.near.address))

    def end(self) -> None:
        """
        The owner and the member who uses a LAN end it, each alone.
        """
        second = self.lans[1]
        for verb in ("accept-lan", "use-lan"):
            arguments = {"member": "bob", "prefix": second, "network": None}
            self.alice.ask(verb, **arguments, stop=True)
            self.assertEqual("", fetch(self.near, self.far.address, 0.5))
            self.alice.ask(verb, **arguments, stop=False)
            waitUntil(lambda: fetch(self.near, self.far.address, 1), SOON, "it works again")

    def crash(self) -> None:
        """
        After a crash of both all is there again.
        """
        for node in (self.alice, self.bob):
            node.kill()
            node.spawn()
        for node in (self.alice, self.bob):
            node.waitReady()
        waitUntil(lambda: fetch(self.near, self.far.address, 1), 30, "near fetches after a crash")
        waitUntil(lambda: fetch(self.far, self.near.address, 1), SOON, "far fetches after a crash")

    def nothingLeft(self) -> None:
        """
        Who leaves takes its LAN along; after a logout, or the end, everything is as it was.
        """
        self.bob.ask("leave", network="family")
        self.assertEqual("", fetch(self.near, self.far.address, 0.5))
        self.alice.ask("logout")
        for node in (self.alice, self.bob):
            waitUntil(lambda node=node: not self.traces(node), SOON, "nothing is left of LANs")  # type: ignore[misc]
            node.stop()
        self.assertEqual(self.before, [left(node.host) for node in (self.alice, self.bob)])

    def traces(self, node: Node) -> list[str]:
        """
        What there is of shared LANs on a computer whose client runs.
        """
        lines = left(node.host).splitlines()
        found = [
            line
            for line in lines
            if "table inet vnet-" in line or any(lan in line for lan in self.others(node))
        ]
        return found + [line for line in lines if line.endswith("eth0/forwarding:1") and "ipv4" in line]

    def others(self, node: Node) -> list[str]:
        """
        The LANs in which a node is not.
        """
        return [lan for lan in self.lans if not node.host.address.startswith(lan.removesuffix("0/24"))]


@pytest.mark.timeout(120)
class CrashTests(SynchronousTestCase):
    """
    A client that died, and whose user shares nothing now.
    """

    def test_forgotten(self) -> None:
        """
        What it has left on is off when the next one has started.
        """
        with Cluster("forgotten") as cluster:
            host = cluster.lab.addHost("node", ipv6=False)
            switch = "/proc/sys/net/ipv4/conf/eth0/forwarding"
            found = host.run(["sh", "-c", f"echo 1 > {switch}; stat -Lc %i /proc/self/ns/net"]).stdout
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            memory = cluster.lab.directory / "node" / "forwarding.json"
            memory.parent.mkdir(mode=0o700)
            memory.write_text(json.dumps({"kernel": f"{boot} {found.strip()}", "interfaces": ["eth0"]}))
            memory.chmod(0o600)
            cluster.addNode("node", where=host)
            self.assertEqual("0", host.run(["cat", switch]).stdout.strip())
            self.assertFalse(memory.exists())


class VersionsTests(SynchronousTestCase):
    """
    Alice, with a TAP, and Bob, with a TUN, share LANs that have IPv4 and IPv6.
    """

    SIX = ("fd06::", "fd05::")

    def test_tunAndSix(self) -> None:
        """
        Plain hosts fetch from each other over IPv4 and IPv6, in both directions; IPv6 only where the computer forwards it. All is
        there again after a crash, and as it was before at the end.
        """
        with Cluster("versions") as cluster:
            cluster.startMediator(wait=False)
            homes = [cluster.lab.addHome(name) for name in ("alice", "bob")]
            plain = [home.addHost(name) for home, name in zip(homes, ("near", "far"), strict=True)]
            lans = [str(home.network) for home in homes]
            self.address(homes, plain, lans)
            before = [left(home.host) for home in homes]
            nodes = [
                cluster.addNode(home.host.name, f"--device={device}", where=home, wait=False)
                for home, device in zip(homes, ("tap", "tun"), strict=True)
            ]
            directory = cluster.lab.directory
            servers = [Server(host, str(directory / f"{host.name}-web")) for host in plain]
            for daemon in cluster.daemons:
                daemon.waitReady()
            self.join(nodes)
            self.share(nodes, lans)
            self.pages(nodes, plain)
            seen = [{home.host.address, f"{six}1"} for home, six in zip(homes, self.SIX, strict=True)]
            self.assertEqual(seen, [server.seen() for server in servers])
            for node in nodes:
                node.kill()
                node.spawn()
            for node in nodes:
                node.waitReady()
            for address in (plain[1].address, "[fd05::2]"):
                waitUntil(lambda to=address: fetch(plain[0], to, 1), 30, "it works after a crash")  # type: ignore[misc]
            self.pages(nodes, plain)
            for node in nodes:
                node.stop()
            for home in homes:
                configure(home.host.namespace, {"ipv6/conf/all/forwarding": 0})
            self.assertEqual(before, [left(home.host) for home in homes])

    def address(self, homes: list[Home], plain: list[Host], lans: list[str]) -> None:
        """
        Both LANs have IPv6, too, and the plain hosts know the way to the other one.
        """
        for number, (home, host) in enumerate(zip(homes, plain, strict=True)):
            own, other = self.SIX[number], self.SIX[1 - number]
            configure(home.host.namespace, {}, [f"addr add {own}1/64 dev eth0 nodad"])
            ways = [
                f"route add {lans[1 - number]} via {home.host.address}",
                f"route add {other}/64 via {own}1",
            ]
            configure(host.namespace, {}, [f"addr add {own}2/64 dev eth0 nodad", *ways])

    def join(self, nodes: list[Node]) -> None:
        """
        Both are in one network, and have a path.
        """
        for node in nodes:
            node.ask("set-nick", nick=node.name)
            node.ask("login", url=node.mediator.url if node.mediator else "")
        nodes[0].ask("create", network="family", password=None)
        nodes[1].ask("join", network="family", password=None)
        nodes[0].waitPath(nodes[1])

    def share(self, nodes: list[Node], lans: list[str]) -> None:
        """
        Each shares both its prefixes, and uses those of the other.
        """
        for number, node in enumerate(nodes):
            six = f"{self.SIX[number]}/64"
            line = refusal(node.vnet, "share-lan", six)
            self.assertIn("does not forward IPv6: turn that on with 'sysctl -w net.ipv6.conf.all", line)
            # As they say; the switches of the interfaces do not matter.
            configure(node.host.namespace, {"ipv6/conf/all/forwarding": 1})
            configure(node.host.namespace, {"ipv6/conf/eth0/forwarding": 0, "ipv6/conf/vnet0/forwarding": 0})
            for prefix in (lans[number], six):
                node.ask("share-lan", prefix=prefix, network="family", stop=False)
                if number:
                    self.waitState(nodes[0], prefix, "offered")
                    nodes[0].ask("accept-lan", member="bob", prefix=prefix, network=None, stop=False)
        for number, node in enumerate(nodes):
            for prefix in (lans[1 - number], f"{self.SIX[1 - number]}/64"):
                member = nodes[1 - number].name
                answer = node.ask("use-lan", member=member, prefix=prefix, network=None, stop=False)
                self.assertEqual("used", answer["state"])

    def waitState(self, node: Node, prefix: str, state: str) -> None:
        """
        Wait until a node says this of a LAN.
        """
        waitUntil(lambda: lanOf(node, prefix)["state"] == state, SOON, f"{prefix} is {state}")

    def pages(self, nodes: list[Node], plain: list[Host]) -> None:
        """
        Plain hosts, and nodes, fetch from the other LAN.
        """
        for number, six in enumerate(self.SIX):
            for who in (plain[1 - number], nodes[1 - number].host):
                for address in (plain[number].address, f"[{six}2]"):
                    self.assertEqual(f"the page of {plain[number].name}\n", fetch(who, address), address)

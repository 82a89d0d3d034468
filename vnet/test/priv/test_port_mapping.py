"""
Port mapping by a router's daemon that others wrote: miniupnpd, in the routers of homes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from queue import Empty, Queue
from time import monotonic
from typing import Any, ClassVar

import attrs
import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Home, Host, Lab, LabError
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster
from vnet.test.priv.daemons import waitUntil
from vnet.test.priv.miniupnpd import MiniUpnpd

PORT = 41641
LIFETIME = 7
SEND = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), (sys.argv[2], int(sys.argv[3])))"


@attrs.define(eq=False)
class Program:
    """
    C{vnet.test.priv.mapped} in the host of a home.
    """

    home: Home
    daemon: MiniUpnpd
    process: subprocess.Popen[str]
    lines: Queue[dict[str, Any]] = attrs.field(factory=Queue)
    statuses: list[dict[str, Any]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(json.loads(line))

    def waitFor(self, key: str, timeout: float = 20.0, **wanted: Any) -> dict[str, Any]:
        """
        Wait for a line.

        @raise LabError: it did not come.
        """
        deadline = monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - monotonic()))
            except Empty:
                raise LabError(
                    f"{self.home.name}: no {key} {wanted}: {self.daemon.log.read_text()}"
                ) from None
            if "status" in line:
                self.statuses.append(line["status"])
            found = line.get(key)
            if found is not None and all(found[name] == value for name, value in wanted.items()):
                return line

    def end(self) -> None:
        """
        Tell it to end.
        """
        if self.process.stdin is not None:
            self.process.stdin.close()


@pytest.mark.timeout(120)
@pytest.mark.commands("miniupnpd", "conntrack")
class ProtocolTests(SynchronousTestCase):
    """
    Four homes, each with a router that speaks one protocol.
    """

    def test_all(self) -> None:
        """
        Each protocol alone gives a mapping, through which datagrams from anybody outside arrive.  It outlives its lifetime,
        and is made again when the router has restarted.  At its end the program removes it.
        """
        with Lab("ports") as lab:
            outside = lab.addHost("outside")
            programs: dict[str, Program] = {}
            for number, protocol in enumerate(("pcp", "nat-pmp", "upnp", "upnp1"), 1):
                programs[protocol] = self.begin(lab, number, protocol)
            for protocol, program in programs.items():
                status = program.waitFor("status", protocol=protocol.removesuffix("1"))["status"]
                address = program.home.publicAddress
                self.assertEqual(status["external"][:2], [address, PORT])
                self.assertEqual((status["lifetime"], status["behindCarrier"]), (LIFETIME, False))
                self.send(outside, program, "first")
            self.assertIn("WANIPConnection:1#AddPortMapping", programs["upnp1"].daemon.log.read_text())
            self.assertIn("WANIPConnection:2#AddAnyPortMapping", programs["upnp"].daemon.log.read_text())
            started = monotonic()
            # Nothing but a renewal keeps it for so long.
            waitUntil(lambda: monotonic() - started > LIFETIME + 1, 2 * LIFETIME, "the lifetime is over")
            for program in programs.values():
                self.send(outside, program, "after its lifetime")
                program.daemon.restart()
            for program in programs.values():
                waitUntil(lambda: program.daemon.isMapped(PORT), 20.0, "it is mapped again")  # noqa: B023
                self.send(outside, program, "after the restart")
                program.end()
            for program in programs.values():
                self.assertEqual(program.process.wait(20.0), 0)
                self.assertFalse(program.daemon.isMapped(PORT))

    def begin(self, lab: Lab, number: int, protocol: str) -> Program:
        home = lab.addHome(f"home{number}")
        daemon = MiniUpnpd(home, lab.directory, number, (protocol,))
        daemon.prepare()
        daemon.start()
        process = home.host.popen(
            [sys.executable, "-m", "vnet.test.priv.mapped", str(PORT), str(LIFETIME)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        return Program(home, daemon, process)

    def send(self, outside: Host, program: Program, word: str) -> None:
        """
        A datagram from outside arrives.
        """
        outside.python(SEND, word, program.home.publicAddress, str(PORT))
        line = program.waitFor("got")
        self.assertEqual((line["got"], line["source"]), (word, outside.address))


@pytest.mark.timeout(120)
@pytest.mark.commands("miniupnpd", "conntrack")
class NodeTests(SynchronousTestCase):
    """
    Two nodes behind NATs that no prediction gets through, one of which has a router that maps ports.
    """

    cluster: ClassVar[Cluster]

    def test_direct(self) -> None:
        """
        The path is direct, to the port that the router forwards.  A router that has restarted, and says so, forwards again
        long before it would be asked by itself; and it ends when the node does.
        """
        with Cluster("mapped") as cluster:
            cluster.startMediator(wait=False)
            homes = [cluster.lab.addHome(name, nat="symmetric-random") for name in ("alice", "bob")]
            daemon = MiniUpnpd(homes[0], cluster.lab.directory, 9)
            daemon.prepare()
            daemon.start()
            assert cluster.mediator is not None
            cluster.mediator.waitReady()
            alice, bob = (cluster.addNode(each.name, where=each, wait=False) for each in homes)
            for node in (alice, bob):
                node.waitReady()
                node.login()
            port = alice.status()["udpPort"]
            waitUntil(lambda: daemon.isMapped(port), 15.0, "the port is mapped")
            alice.create("family")
            bob.join("family")
            seen = bob.waitPath(alice)
            external = f"{homes[0].publicAddress}:{port}"
            self.assertEqual(seen["endpoint"], external)
            self.assertEqual(alice.status()["nat"]["portMapping"], {"protocol": "pcp", "address": external})
            self.assertEqual(bob.status()["nat"]["portMapping"], None)
            daemon.restart()
            waitUntil(lambda: daemon.isMapped(port), 20.0, "the port is mapped again")
            alice.stop()
            self.assertFalse(daemon.isMapped(port))

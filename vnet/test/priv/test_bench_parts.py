"""
Tests for C{bench/side.py}, C{bench/idle.py} and C{bench/primitives.py}.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.localclient import LocalClient
from vnet.test.netlab import Host, Lab
from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import batch
from vnet.test.priv.cluster import waitUntil

pytestmark = pytest.mark.commands("ethtool", "unshare", "nsenter", "wg", "wireguard-go")

INNER = ("100.64.0.1", "100.64.0.2")
OUTER = ("10.9.0.1", "10.9.0.2")


class SideTests(SynchronousTestCase):
    """
    C{bench/side.py}, as a harness uses it.
    """

    def setUp(self) -> None:
        lab = Lab("side").__enter__()
        self.addCleanup(lab.close)
        self.work = lab.directory / "work"
        self.work.mkdir()
        self.hosts = near, far = [lab.addHost(name, ipv6=False) for name in ("near", "far")]
        link = f"link add under netns {near.namespace} type veth peer name under netns {far.namespace}"
        batch([link])
        for host, address in zip(self.hosts, OUTER, strict=True):
            batch(
                [f"addr add {address}/24 dev under", "link set under up", "link set eth0 down"],
                host.namespace,
            )

    def start(self, name: str, host: Host, *options: str) -> subprocess.Popen[str]:
        """
        One side, started as a harness does.
        """
        order = slice(None, None, 1 if name == "a" else -1)
        argv = [sys.executable, str(ROOT / "bench/side.py"), name, str(self.work), f"dev{name}"]
        argv += [*OUTER[order], *INNER[order], *options]
        with (self.work / f"log-{name}").open("w") as log:
            return host.popen(argv, stdout=log, stderr=subprocess.STDOUT)

    def sides(self, *options: str) -> list[subprocess.Popen[str]]:
        """
        Both sides, as soon as one pings the other.
        """
        near, far = self.hosts
        found = [self.start("a", near, *options), self.start("b", far, *options)]
        try:
            waitUntil(lambda: near.ping(INNER[1], timeout=0.3).millis, 40.0, "side b answers")
        except Exception as error:
            for name in "ab":
                error.add_note((self.work / f"log-{name}").read_text()[-2000:])
            raise
        return found

    def stewards(self) -> list[str]:
        """
        Programs of this test that are still there.
        """
        shown = subprocess.run(
            ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
        return [line for line in shown.splitlines() if str(self.work) in line]

    def end(self, processes: list[subprocess.Popen[str]]) -> None:
        """
        End the nodes, and see that all that accompanies them ends, too.
        """
        self.assertNotEqual(self.stewards(), [])
        for process in processes:
            process.terminate()
            process.wait(10)
        waitUntil(lambda: not self.stewards(), 10.0, "nothing is left of both sides")
        self.assertNotIn("relay", self.hosts[0].interfaces())

    def test_relayed(self) -> None:
        """
        With C{--relayed} both sides have the addresses that were asked for, on interfaces of the names that were asked for,
        and reach each other through a relay; when the nodes end, mediator and relay do.
        """
        processes = self.sides("--relayed")
        client = LocalClient(str(self.work / "vnet-a" / "control.sock"), timeout=10.0)
        seen = client.call("peer", name=INNER[1])
        self.assertEqual((seen["path"], seen["relay"]), ("relayed", "10.9.77.2:3478"))
        self.assertEqual(client.call("status")["address"], INNER[0])
        client.close()
        self.assertIn("deva", self.hosts[0].interfaces())
        self.end(processes)

    def test_wireguardGo(self) -> None:
        """
        With C{--wireguard-go} side B is wireguard-go.
        """
        processes = self.sides("--wireguard-go")
        shown = self.hosts[1].run(["wg", "show", "devb", "latest-handshakes"]).stdout.split()
        self.assertGreater(int(shown[1]), 0)
        self.end(processes)

    def test_namespace(self) -> None:
        """
        Outside of a namespace it does nothing.
        """
        argv = [sys.executable, str(ROOT / "bench/side.py"), "a", str(self.work), "deva"]
        argv += ["192.0.2.1", "192.0.2.2", *INNER]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        self.assertEqual((done.returncode, list(self.work.iterdir())), (1, []))
        self.assertIn("belongs into a network namespace", done.stderr)


class CostTests(SynchronousTestCase):
    """
    The programs that say what a node and its parts cost.
    """

    def run_(self, program: str, *options: str) -> dict[str, Any]:
        """
        Run one of them.

        @return: what it wrote as JSON.
        """
        path = Path(self.mktemp())
        argv = [sys.executable, str(ROOT / "bench" / program), f"--json={path}", *options]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def test_idle(self) -> None:
        """
        A node's memory and datagrams are measured with so many peers as were asked for, each with a path: as C{twistd}
        starts it, and without docstrings, which takes less.
        """
        document = Path(self.mktemp())
        document.write_text("<!-- idle: here -->\n<!-- end of idle -->\n")
        found = self.run_("idle.py", "--peers=1", "--seconds=1", f"--document={document}")
        self.assertEqual(
            [(each["peers"], each["isOptimized"]) for each in found["costs"]], [(1, False), (1, True)]
        )
        self.assertGreater(found["costs"][0]["rss"], found["costs"][1]["rss"])
        for each in found["costs"]:
            self.assertGreater(each["rss"], each["pss"])
            self.assertGreater(each["pss"], 10)
            self.assertGreater(each["arrival"], 0)
        self.assertIn("45 MB, 3 %", document.read_text())

    def test_primitives(self) -> None:
        """
        Each part has a cost, which for trains is that of all their packets.
        """
        found = self.run_("primitives.py", "--seconds=0.03")
        costs = {each["name"]: each for each in found["costs"]}
        for each in costs.values():
            self.assertGreater(each["micros"], 0, each)
        trains = [name for name in costs if "train (" in name]
        self.assertEqual(len(trains), 4)
        for name in trains:
            self.assertEqual(costs[name]["packets"], 42, name)

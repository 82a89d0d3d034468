"""
The firewall of whole nodes: which policy applies to whom, what is remembered, and what users are told.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.nft import NftError
from vnet.client.firewall.policy import OPEN, PING_ONLY
from vnet.client.firewall.ruleset import Ruled, change, install, remove
from vnet.errors import Refused
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.test.test_firewall import FakeNft


class NodeTests(SynchronousTestCase):
    """
    Two nodes that share a network, and one of them has a firewall.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.nft = FakeNft()
        self.ann = self.overlay.add("ann", "203.0.113.1", nft=self.nft)
        self.bea = self.overlay.add("bea", "203.0.113.2")
        for node in (self.ann, self.bea):
            node.do(node.node.login(URL))
        self.create("home")

    def create(self, name: str) -> None:
        self.ann.do(self.ann.node.create(name, "secret"))
        self.bea.do(self.bea.node.join(name, "secret"))
        self.overlay.advance(2)

    def choose(self, name: str, policy: str) -> list[str]:
        answer = self.ann.do(self.ann.node.firewall(name, policy))
        self.assertEqual(answer, {"network": name, "policy": policy})
        return self.nft.take()

    def here(self, node: TestNode) -> set[str]:
        status = node.do(node.node.status())
        return {status["address"], status["address6"]}

    def policyOfBea(self) -> str:
        return str(self.ann.do(self.ann.node.peer(self.bea.address))["firewall"])

    def test_open(self) -> None:
        """
        A network that is joined is open, which is told, and nothing is asked of nft.
        """
        self.assertEqual(
            self.bea.do(self.bea.node.join("home", "secret")), {"network": "home", "firewall": "open"}
        )
        status = self.ann.do(self.ann.node.status())
        self.assertEqual(status["firewall"], [{"network": "home", "policy": "open"}])
        self.assertEqual((self.policyOfBea(), self.nft.take()), ("open", []))
        self.assertEqual(
            self.ann.do(self.ann.node.firewall(None, None)),
            {"networks": [{"name": "home", "policy": "open", "dropped": 0}], "droppedOthers": 0},
        )

    def test_members(self) -> None:
        """
        Members that come and go are in the sets, and out.
        """
        bea = self.here(self.bea)
        self.assertEqual(self.choose("home", "ping-only"), [install("vnet0", [Ruled(PING_ONLY, bea)])])
        self.assertEqual(self.policyOfBea(), "ping-only")
        cea = self.overlay.add("cea", "203.0.113.3")
        cea.do(cea.node.login(URL))
        cea.do(cea.node.join("home", "secret"))
        self.overlay.advance(1)
        self.assertEqual(self.nft.take(), [change("vnet0", {0: self.here(cea)}, {})])
        self.bea.do(self.bea.node.leave("home"))
        self.overlay.advance(1)
        self.assertEqual(self.nft.take(), [change("vnet0", {}, {0: bea})])

    def test_union(self) -> None:
        """
        With two networks the more permissive counts, unless this node is offline there; what hints at the policy names one.
        """
        self.choose("home", "tcp/22")
        self.create("work")
        self.choose("work", "udp/5")
        self.assertEqual(self.policyOfBea(), "tcp/22,udp/5")
        self.ann.do(self.ann.node.goOffline("work"))
        self.overlay.advance(1)
        self.assertEqual(self.nft.take(), [change("vnet0", {}, {1: self.here(self.bea)})])
        [hint] = self.ann.do(self.ann.node.peer(self.bea.address))["help"]
        self.assertEqual(
            hint, "this computer's firewall lets in only pings and tcp/22 from it: vnet firewall home open"
        )

    def test_lastOne(self) -> None:
        """
        To leave the only network that is not open removes the table and forgets the policy.
        """
        self.choose("home", "ping-only")
        self.ann.do(self.ann.node.leave("home"))
        self.overlay.advance(1)
        self.assertEqual(self.nft.take()[-1], remove("vnet0"))
        self.assertEqual(self.ann.state.remembered.firewall, {})

    def test_logout(self) -> None:
        """
        Who is logged out has no members: none is let in; the policy stays, and can be set.
        """
        bea = self.here(self.bea)
        self.choose("home", "tcp/22")
        self.ann.do(self.ann.node.logout())
        self.overlay.advance(1)
        self.assertEqual(self.nft.take(), [change("vnet0", {}, {0: bea})])
        self.assertEqual(self.choose("home", "ping-only"), [install("vnet0", [Ruled(PING_ONLY)])])

    def test_restart(self) -> None:
        """
        What was chosen holds from the start, before anybody is known.
        """
        self.choose("home", "ping-only")
        self.overlay.kill(self.ann)
        again = self.overlay.add("ann", "203.0.113.4", self.ann.state, nft=self.nft)
        again.core.firewall.prepare()
        self.assertEqual(self.nft.take(), [install("vnet0", [Ruled(PING_ONLY)])])
        self.overlay.advance(10)
        self.assertEqual(self.nft.take(), [change("vnet0", {0: self.here(self.bea)}, {})])

    def test_refused(self) -> None:
        """
        What cannot be set is refused, and changes nothing.
        """
        for name, policy in (("home", "closed"), ("nothing", "open"), (None, "open"), ("nothing", None)):
            self.assertRaises(Refused, self.ann.do, self.ann.node.firewall(name, policy))
        self.nft.error = NftError("nft failed: no")
        error = self.assertRaises(Refused, self.ann.do, self.ann.node.firewall("home", "ping-only"))
        self.assertEqual(str(error), "the firewall cannot be set: nft failed: no")
        self.assertEqual(self.ann.state.remembered.firewall, {})
        self.assertEqual(self.policyOfBea(), str(OPEN))
        # Open needs no firewall.
        self.bea.do(self.bea.node.firewall("home", "open"))
        self.assertRaises(Refused, self.bea.do, self.bea.node.firewall("home", "ping-only"))

"""
Tests for L{vnet.server.lans}, through the control protocol.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.codec.prefix import parsePrefix
from vnet.server import lans
from vnet.server.store import tables
from vnet.test.mediatorlab import Lab, NodeClient

LAN, OTHER = "192.168.7.0/24", "192.168.8.0/24"


class LanTests(SynchronousTestCase):
    """
    Offers, by b and c, in a network of a's.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a, self.b, self.c = (self.lab.login(name) for name in "abc")
        self.network = self.lab.network("home", self.a, self.b, self.c)

    def offer(self, by: NodeClient, prefix: str = LAN, offered: bool = True) -> None:
        self.lab.call(by, control.OfferLan, network=self.network, prefix=prefix, offered=offered)

    def accept(
        self, of: NodeClient, prefix: str = LAN, accepted: bool = True, by: NodeClient | None = None
    ) -> None:
        arguments = {"network": self.network, "member": of.key, "prefix": prefix, "accepted": accepted}
        self.lab.call(by or self.a, control.AcceptLan, **arguments)

    def told(self, client: NodeClient) -> list[tuple[bytes, list[tuple[str, bool]]]]:
        """
        What was pushed to a node of members' LANs, and forget it.
        """
        changes = [arguments for name, arguments in client.pushed if name == "MemberChanged"]
        client.pushed.clear()
        return [(each["key"], _lansOf(each)) for change in changes for each in change["members"]]

    def lansOf(self, client: NodeClient) -> list[tuple[str, bool]]:
        """
        What a new synchronisation tells of a node's LANs.
        """
        pages = self.lab.synchronise(self.a)
        members = [each for page in pages for network in page["networks"] for each in network["members"]]
        return [lan for each in members if each["key"] == client.key for lan in _lansOf(each)]

    def refusal(self, what: Any, *arguments: Any, **named: Any) -> str:
        with self.assertRaises(control.Denied) as caught:
            what(*arguments, **named)
        return str(caught.exception)

    def test_offered(self) -> None:
        """Every member, who offers it too, is told of an offer and of its acceptance, in one push each."""
        self.offer(self.b)
        for each in (self.a, self.b, self.c):
            self.assertEqual([(self.b.key, [(LAN, False)])], self.told(each))
        self.accept(self.b)
        for each in (self.a, self.b, self.c):
            self.assertEqual([(self.b.key, [(LAN, True)])], self.told(each))
        self.assertEqual([(LAN, True)], self.lansOf(self.b))

    def test_withdrawn(self) -> None:
        """Who takes an offer back offers it no more, and may offer it again, which has to be accepted again."""
        self.offer(self.b)
        self.accept(self.b)
        self.offer(self.b, offered=False)
        self.assertEqual((self.b.key, []), self.told(self.c)[-1])
        self.assertIn("does not offer", self.refusal(self.offer, self.b, offered=False))
        self.offer(self.b)
        self.assertEqual([(LAN, False)], self.lansOf(self.b))

    def test_owner(self) -> None:
        """What the owner offers is accepted at once; only the owner accepts."""
        self.offer(self.a)
        self.assertEqual([(LAN, True)], self.lansOf(self.a))
        self.offer(self.b, OTHER)
        self.assertIn("only the network's owner", self.refusal(self.accept, self.b, OTHER, by=self.b))
        self.assertEqual([(OTHER, False)], self.lansOf(self.b))

    def test_acceptanceTakenBack(self) -> None:
        """The owner takes an acceptance back; doing so again, or accepting again, tells nobody anything."""
        self.offer(self.b)
        self.accept(self.b)
        self.accept(self.b)
        self.accept(self.b, accepted=False)
        self.accept(self.b, accepted=False)
        self.assertEqual(
            [[(LAN, False)], [(LAN, True)], [(LAN, False)]], [each for _, each in self.told(self.c)]
        )

    def test_badPrefixes(self) -> None:
        """What cannot be shared is refused with the reason: the mediator's own blocks too."""
        for prefix, reason in (
            ("192.168.7.1/24", "that is 192.168.7.0/24"),
            ("100.64.0.0/16", "members have their addresses"),
            ("fd01:203:405::/64", "members have their addresses"),
            ("0.0.0.0/0", "at most a /8"),
            ("127.0.0.0/8", "loopback"),
            ("x" * 5000, "no prefix"),
        ):
            self.assertIn(reason, self.refusal(self.offer, self.b, prefix))
        self.assertEqual([], self.told(self.a))

    def test_twice(self) -> None:
        """The same prefix is offered once by a member in a network, however it is written; another member may offer it too."""
        self.offer(self.b, "fd00:7::/64")
        self.assertIn("already", self.refusal(self.offer, self.b, "FD00:7:0::/64"))
        self.offer(self.c, "fd00:7::/64")

    def test_overlap(self) -> None:
        """What overlaps a prefix accepted from another member is not accepted, nor offered by the owner; afterwards it is."""
        self.offer(self.b)
        self.offer(self.c, "192.168.0.0/16")
        self.accept(self.b)
        reason = "overlaps 192.168.7.0/24, which is accepted from another member"
        self.assertIn(reason, self.refusal(self.accept, self.c, "192.168.0.0/16"))
        self.assertIn(reason, self.refusal(self.offer, self.a, "192.168.7.128/25"))
        self.accept(self.b, accepted=False)
        self.accept(self.c, "192.168.0.0/16")
        self.assertEqual([("192.168.0.0/16", True)], self.lansOf(self.c))

    def test_overlapElsewhere(self) -> None:
        """Prefixes of one member, and of other networks, may overlap."""
        self.offer(self.b)
        self.accept(self.b)
        self.offer(self.b, "192.168.0.0/16")
        self.accept(self.b, "192.168.0.0/16")
        self.network = self.lab.network("work", self.c)
        self.offer(self.c)

    def test_limits(self) -> None:
        """A member offers eight prefixes in a network, and all together 64."""
        nodes = [self.lab.login(f"n{number}") for number in range(8)]
        for each in nodes:
            self.lab.call(each, control.JoinNetwork, name="home", proof=b"P" * 32)
        for each in nodes:
            for number in range(8):
                prefix = parsePrefix(f"10.{number}.0.0/16")
                self.lab.inStore(lans.offer, self.network, each.key, prefix)
        with self.assertRaisesRegex(control.TooMany, "at most 8"):
            self.offer(nodes[0], "10.8.0.0/16")
        with self.assertRaisesRegex(control.TooMany, "at most 64"):
            self.offer(self.b)
        self.lab.inStore(lans.withdraw, self.network, nodes[0].key, parsePrefix("10.0.0.0/16"))
        self.offer(self.b)

    def test_rate(self) -> None:
        """Offers count as the other changes do: nobody floods the members."""
        with self.assertRaises(control.TooMany):
            for number in range(70):
                arguments = {"network": self.network, "prefix": LAN, "offered": number % 2 == 0}
                self.lab.call(self.b, control.OfferLan, **arguments)

    def test_strangers(self) -> None:
        """Who is no member offers and accepts nothing; what nobody offers is not accepted."""
        stranger = self.lab.login("stranger")
        self.assertIn("no member", self.refusal(self.offer, stranger))
        self.assertIn("no member", self.refusal(self.accept, self.b, by=stranger))
        self.assertIn("does not offer", self.refusal(self.accept, self.b))
        self.assertIn("does not offer", self.refusal(self.accept, stranger))
        self.network = b"x"
        self.assertIn("no member", self.refusal(self.offer, self.b))

    def test_leaves(self) -> None:
        """Offers go with the member: who joins again offers nothing, and what it offered is free."""
        self.offer(self.b)
        self.accept(self.b)
        self.lab.call(self.b, control.LeaveNetwork, network=self.network)
        self.assertEqual((self.b.key, []), self.told(self.c)[-1])
        self.lab.call(self.b, control.JoinNetwork, name="home", proof=b"P" * 32)
        self.assertEqual([], self.lansOf(self.b))
        self.offer(self.c)
        self.accept(self.c)

    def test_networkEnds(self) -> None:
        """Where the last member leaves, its offers are gone too."""
        self.offer(self.a)
        for each in (self.a, self.b, self.c):
            self.lab.call(each, control.LeaveNetwork, network=self.network)
        rows = self.lab.inStore(lambda connection: connection.execute(sa.select(tables.lans)).all())
        self.assertEqual([], rows)

    def test_restart(self) -> None:
        """A mediator that starts again tells the same."""
        self.offer(self.b)
        self.offer(self.b, OTHER)
        self.accept(self.b, OTHER)
        self.lab.start()
        self.a, self.b = self.lab.login("a"), self.lab.login("b")
        self.assertEqual([(LAN, False), (OTHER, True)], self.lansOf(self.b))

    def test_olderNode(self) -> None:
        """A node that knows nothing of LANs reads what it is told as before."""
        self.offer(self.b)
        member = self.a.pushed[-1][1]["members"][0]
        wire = amp.AmpList(list(control._MEMBER)).toStringProto([member], None)
        older = [each for each in control._MEMBER if each[0] != b"lans"]
        (read,) = amp.AmpList(older).fromStringProto(wire, None)
        self.assertEqual({name: value for name, value in member.items() if name != "lans"}, read)


def _lansOf(member: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(each["prefix"], each["accepted"]) for each in member.get("lans") or ()]

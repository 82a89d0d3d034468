"""
What a hostile peer, a hostile STUN server, and a change on the way can make of a traversal.
"""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.sockets import MAXIMUM_SOCKETS
from vnet.protocols.codec import signal as signals
from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode, isStun
from vnet.protocols.codec.stunattributes import XOR_MAPPED_ADDRESS, Attribute
from vnet.protocols.punch import Attempt
from vnet.protocols.traversaltools import LIMITED, Means
from vnet.test.natsim.ports import RandomPorts, Sequential
from vnet.test.test_traversal import (
    APDM,
    BLOCK,
    EASY,
    LATENCY,
    SEQUENTIAL,
    STUN,
    Lab,
    Side,
    block,
    easy,
    fullyRandom,
    sequential,
    symmetric,
)
from vnet.values import Address, Candidate

VICTIM = "192.0.2.77"


def tell(side: Side, other: Side, **changes: Any) -> None:
    """Give a side a signal of the other one with something else in it."""
    assert other.attempt is not None
    side.told(signals.encode(evolve(other.attempt.signal(1), **changes)))


def watchLimited(side: Side) -> list[Address]:
    """
    @return: gets where datagrams that die on the way are sent to.
    """
    means, sent = side.puncher._means, list[Address]()
    sendLimited = means.sendLimited

    def noted(datagrams: list[tuple[bytes, Address]], hopLimit: int) -> None:
        sent.extend(address for _, address in datagrams)
        sendLimited(datagrams, hopLimit)

    means.sendLimited = noted
    return sent


def begun(one: Side, two: Side, seconds: float = 0.5) -> tuple[Side, Side]:
    """Two sides that try in vain, since nothing gets out of the second one's NAT any more."""
    one.lab.clock.run(1.0)
    two.nat.passesUdp = False
    one.lab.connect(one, two, seconds)
    return one, two


@define(eq=False)
class Spoke:
    """
    What a computer of many is connected to: one of several attempts of the same other one.
    """

    hub: Side
    side: Side
    attempt: Attempt = field(init=False)

    def connect(self, startAt: float) -> None:
        """Begin on both sides."""
        self.attempt = self.hub.puncher.connect(
            self.side.nat.external.encode(),
            controlling=True,
            startAt=startAt,
            onEvent=lambda event: None,
            observed=self.side.nat.external,
            onSignal=self.tell,
        )
        one: Any = self
        self.side.connect(one, False, startAt, self.hub.nat.external)
        self.tell()

    def tell(self) -> None:
        """Send a signal."""
        self.hub.lab.clock.callLater(LATENCY, self.side.told, signals.encode(self.attempt.signal(1)))

    def told(self, data: bytes) -> None:
        """A signal has come."""
        self.attempt.remoteSignal(signals.decode(data))

    @property
    def isDirect(self) -> bool:
        """Whether there is a path."""
        return self.side.isDirect and self.attempt.selected is not None


def star(lab: Lab, hub: Side, sides: list[Side], seconds: float) -> int:
    """
    Connect one side with many at once.

    @return: how many are connected then.
    """
    spokes = [Spoke(hub, side) for side in sides]
    lab.clock.run(1.0)
    for each in spokes:
        each.connect(lab.clock.seconds() + 0.1)
    lab.clock.run(seconds, lambda: all(each.isDirect for each in spokes))
    return sum(each.isDirect for each in spokes)


class HostilePeerTests(SynchronousTestCase):
    """
    An authentic member of a network, which wants harm done.
    """

    def test_sameRound(self) -> None:
        """A peer whose fresh socket is elsewhere again and again in one round is believed once."""
        lab = Lab(1)
        side, other = begun(easy(lab, 1), easy(lab, 2), 2.0)
        sent = watchLimited(side)
        for port in range(1, 200):
            tell(side, other, prediction=Prediction(9, "exact", VICTIM, port, port))
            lab.clock.run(0.02)
        lab.clock.run(3.0)
        self.assertLess(len(sent), 10)

    def test_nowhere(self) -> None:
        """A fresh socket at an address to which nothing may be sent gets nothing, dying or not."""
        lab = Lab(1)
        side, other = begun(easy(lab, 1), easy(lab, 2), 2.0)
        sent = watchLimited(side)
        for number, host in enumerate(("127.0.0.1", "", "224.0.0.1"), 9):
            tell(side, other, prediction=Prediction(number, "exact", host, 99, 99))
            lab.clock.run(2.0)
        self.assertEqual([each for each in sent if each.host in ("127.0.0.1", "", "224.0.0.1")], [])

    def test_seenInside(self) -> None:
        """
        Who comes to the mediator through a proxy on its host, or from its LAN, makes nobody guess ports in the peer's own
        computer or LAN.
        """
        for host in ("127.0.0.1", "192.168.1.1", "10.0.0.1"):
            lab = Lab(1)
            side, other = easy(lab, 1), fullyRandom(lab, 2)
            lab.clock.run(1.0)
            start = lab.clock.seconds() + 0.1
            side.connect(other, True, start, host)
            other.connect(side, False, start, side.nat.external)
            lab.clock.run(0.5)
            tell(side, other, prediction=Prediction(9, "ports", host, 1024, 65535))
            lab.clock.run(5.0)
            self.assertLess(sum(each.host == host for each in side.probes), 30, host)

    def test_random(self) -> None:
        """Behind a NAT that gives each guess another mapping, nothing is guessed."""
        lab = Lab(1)
        side, other = begun(fullyRandom(lab, 1), fullyRandom(lab, 2))
        before = len(side.probes)
        tell(side, other, prediction=Prediction(9, "ports", other.nat.external, 1024, 65535))
        lab.clock.run(5.0)
        self.assertLess(len(side.probes) - before, 30)

    def test_wide(self) -> None:
        """All ports of a peer are guessed seldom, be it ever so often that it asks."""
        lab = Lab(1)
        side, other = begun(easy(lab, 1), fullyRandom(lab, 2))
        before = len(side.probes)
        for number in range(60):
            tell(side, other, prediction=Prediction(number + 1, "ports", other.nat.external, 1024, 65535))
            lab.clock.run(21.0)
        # In 21 minutes.
        self.assertLess(len(side.probes) - before, 14 * 2048)

    def test_later(self) -> None:
        """A moment that is far away keeps nothing waiting."""
        for maker, kind in ((block, "next"), (sequential, "next")):
            lab = Lab(1)
            side, other = begun(maker(lab, 1), sequential(lab, 2))
            host = other.nat.external
            tell(side, other, prediction=Prediction(9, kind, host, 5000, 5000, at=0xFFFFFFFF))
            lab.clock.run(30.0)
            assert side.attempt is not None
            self.assertFalse(side.attempt.isBusy)
            self.assertLess(len(side.sockets), 10)

    def test_hoard(self) -> None:
        """A peer that says of each check that it came through a relay does not keep the spare sockets for itself."""
        lab = Lab(1)
        side, other = easy(lab, 1), easy(lab, 2)
        lab.clock.run(1.0)
        lab.connect(side, other, 0.02)
        attempt = side.attempt
        assert attempt is not None
        names = attempt._traversal._tools.openSockets(50)
        for name in names:
            candidate = Candidate("relay", Address(other.nat.external, 7, name), 255, "x")
            attempt._agent.addRemoteCandidate(candidate, lab.clock.seconds())
        attempt._traversal._tools.closeUnused()
        self.assertLessEqual(len(side.sockets), 8)

    def test_names(self) -> None:
        """Behind a NAT that has few mappings to give, a peer that names many addresses leaves some for the others."""
        lab = Lab(1)
        side = lab.side(1, evolve(EASY, limited=True))
        spokes = [Spoke(side, easy(lab, number)) for number in (2, 3)]
        lab.clock.run(1.0)
        spokes[0].connect(lab.clock.seconds())
        named = tuple(
            Candidate("host", Address(f"198.18.0.{number}", 9), 2**31 - 1, "x") for number in range(1, 33)
        )
        assert spokes[0].side.attempt is not None
        signal = spokes[0].side.attempt.signal(1)
        spokes[0].told(signals.encode(evolve(signal, candidates=named)))
        lab.clock.run(2.0)
        spokes[1].connect(lab.clock.seconds())
        lab.clock.run(3.0)
        self.assertTrue(spokes[1].isDirect)


class HostileServerTests(SynchronousTestCase):
    """
    A STUN server that tells what it likes.
    """

    def lie(self, side: Side, lies: list[Address]) -> None:
        """Answer in place of the server, and see that nothing is raised."""
        means = side.puncher._means
        send = side.paths.send

        def answered(datagrams: Any) -> None:
            for data, address in datagrams:
                if address.host == STUN.host and address.via and isStun(data):
                    mapped = Attribute(XOR_MAPPED_ADDRESS, lies[len(self.asked) % len(lies)])
                    self.asked.append(address)
                    answer = encode(Message(BINDING, Class.SUCCESS, decode(data).transactionId, (mapped,)))
                    side.lab.clock.callLater(0.01, side.puncher.datagramReceived, answer, address)
                else:
                    send([(data, address)])

        self.asked: list[Address] = []
        means.sampler._send = answered

    def test_lies(self) -> None:
        """Whatever it says a signal can be made of it."""
        kinds = {
            "IPv6": [Address("2001:db8::1", 5)],
            "no port": [Address("203.0.113.1", 0)],
            "the end": [Address("203.0.113.1", port) for port in (65534, 65535, 1024, 1025)],
            "the beginning": [Address("203.0.113.1", port) for port in (1, 2, 3, 4)],
        }
        for two in (easy, sequential, block):
            for step in (1, -1):
                for kind, lies in kinds.items():
                    lab = Lab(1)
                    side = lab.side(
                        1,
                        Traits(mapping=APDM, filtering=APDM, allocation="sequential", step=step),
                        **symmetric(Sequential(1)),
                    )
                    other = two(lab, 2)
                    lab.clock.run(1.0)
                    self.lie(side, lies)
                    other.nat.passesUdp = False
                    lab.connect(side, other, 8)
                    assert side.attempt is not None
                    signals.decode(signals.encode(side.attempt.signal(1)))
                    self.assertTrue(self.asked, (kind, two))

    def test_liesEasy(self) -> None:
        """The same for a fresh socket."""
        for lie in (Address("203.0.113.1", 0), Address("2001:db8::1", 5)):
            lab = Lab(1)
            side, other = easy(lab, 1), easy(lab, 2)
            lab.clock.run(1.0)
            self.lie(side, [lie])
            other.nat.passesUdp = False
            lab.connect(side, other, 8)
            assert side.attempt is not None
            self.assertTrue(self.asked)
            signals.decode(signals.encode(side.attempt.signal(1)))

    def test_old(self) -> None:
        """An attempt that is older than the numbers of a signal go still predicts."""
        lab = Lab(1)
        side, _ = begun(sequential(lab, 1), sequential(lab, 2))
        assert side.attempt is not None
        side.attempt._traversal._tools._startAt -= 2**32 / 1000
        side.nat.passesUdp = True
        lab.clock.run(10.0)
        self.assertIsNotNone(side.attempt.signal(1).prediction)
        signals.encode(side.attempt.signal(1))


class ChangeTests(SynchronousTestCase):
    """
    What is known changes while something is under way.
    """

    def test_noServer(self) -> None:
        """A round that the peer begins while no STUN server is known is not the last one."""
        lab = Lab(1)
        side, other = begun(easy(lab, 1), easy(lab, 2))
        means = side.puncher._means
        server, means.server = means.server, None
        tell(side, other, prediction=Prediction(3, "exact", other.nat.external, 99, 99))
        lab.clock.run(1.0)
        means.server = server
        lab.clock.run(70.0)
        assert side.attempt is not None
        self.assertGreater(side.attempt.story.rounds, 3)

    def test_strategy(self) -> None:
        """The sockets of a round are closed when there are to be none any more."""
        for own, peer in ((EASY, None), (None, evolve(EASY, blocked=True))):
            lab = Lab(1)
            side, other = begun(fullyRandom(lab, 1), easy(lab, 2), 5.0)
            self.assertEqual(len(side.sockets), 256)
            if own is not None:
                # And the peer is behind such a NAT now.
                side.puncher.setTraits(own)
                tell(side, other, traits=BLOCK)
            else:
                tell(side, other, traits=peer)
            lab.clock.run(70.0)
            self.assertEqual(len(side.sockets), 0)

    def test_noSockets(self) -> None:
        """When other rounds have all spare sockets, a birthday round waits for its turn."""
        lab = Lab(1)
        side, other = fullyRandom(lab, 1), easy(lab, 2)
        lab.clock.run(1.0)
        others = side.sockets.open(MAXIMUM_SOCKETS)
        self.assertIsNone(lab.connect(side, other, 5))
        assert side.attempt is not None
        self.assertIsNone(side.attempt.signal(1).prediction)
        self.assertLess(len(other.probes), 60)
        side.sockets.close(others)
        lab.clock.run(60, lambda: side.isDirect and other.isDirect)
        self.assertTrue(side.isDirect and other.isDirect)

    def test_few(self) -> None:
        """In no two minutes there are more mappings than are allowed."""
        lab = Lab(1)
        means = Means(lab.clock, lambda each: None, lambda each, limit: None, lab.random.randbytes)
        means.traits = Traits(limited=True)
        taken = 0
        for _ in range(12):
            taken += means.take(100)
            lab.clock.run(9.9)
        self.assertEqual(taken, LIMITED)

    def test_giveBack(self) -> None:
        """Sockets that are too few to begin with use nothing up."""
        lab = Lab(1)
        side, _ = begun(easy(lab, 1), easy(lab, 2))
        assert side.attempt is not None
        side.puncher.setTraits(Traits(limited=True))
        tools = side.attempt._traversal._tools
        self.assertEqual(len(tools.openSockets(LIMITED - 5)), LIMITED - 5)
        for _ in range(3):
            self.assertEqual(tools.openSockets(20, 16), ())
        self.assertEqual(len(tools.openSockets(20)), 5)

    def test_meetMany(self) -> None:
        """A sequential NAT meets several others though it has to predict its ports for one after the other."""
        lab = Lab(1)
        self.assertEqual(
            star(lab, sequential(lab, 1), [sequential(lab, number) for number in range(2, 6)], 20), 4
        )

    def test_birthdayMany(self) -> None:
        """A random NAT gets through to more easy ones than there are sockets for at once."""
        lab = Lab(1)
        self.assertEqual(star(lab, fullyRandom(lab, 1), [easy(lab, number) for number in range(2, 6)], 90), 4)

    def test_begunAnew(self) -> None:
        """A peer that begins anew a minute after it was reached is reached again."""
        lab = Lab(1)
        side, other = fullyRandom(lab, 1), easy(lab, 2)
        for _ in range(3):
            self.assertIsNotNone(lab.connect(side, other, 30))
            for each in (side, other):
                assert each.attempt is not None
                each.attempt.close()
            lab.clock.run(60.0)

    def test_restless(self) -> None:
        """The other sockets are closed soon after there is a direct path, however often that is another one."""
        lab = Lab(1)
        side, other = fullyRandom(lab, 1), easy(lab, 2)
        self.assertIsNotNone(lab.connect(side, other, 30))
        self.assertGreater(len(side.sockets), 8)
        assert side.attempt is not None
        for _ in range(8):
            lab.clock.run(1.0)
            side.attempt.pathChanged()
        self.assertLessEqual(len(side.sockets), 2)

    def test_around(self) -> None:
        """The rounds of both sides are counted on beyond the last number."""
        lab = Lab(1)
        side, other = begun(easy(lab, 1), easy(lab, 2), 2.5)
        assert side.attempt is not None
        for number in (100, 200, 255, 1):
            tell(side, other, prediction=Prediction(number, "exact", other.nat.external, 99, 99))
            self.assertEqual(side.attempt.story.rounds, number)
        tell(side, other, prediction=Prediction(255, "exact", other.nat.external, 99, 99))
        self.assertEqual(side.attempt.story.rounds, 1)

    def test_natless(self) -> None:
        """A peer without a NAT, but with a firewall, is opened for as others are."""
        lab = Lab(1)
        side, other = begun(sequential(lab, 1), easy(lab, 2), 0.05)
        there = Address(other.nat.external, 7)
        sent = watchLimited(side)
        tell(
            side,
            other,
            candidates=(Candidate("host", there, 1, "x"),),
            traits=evolve(EASY, natless=True, host=there.host),
        )
        side.nat.passesUdp = True
        assert side.attempt is not None
        side.attempt._traversal._endpoint = None
        tell(
            side,
            other,
            candidates=(Candidate("host", there, 1, "x"),),
            traits=evolve(EASY, natless=True, host=there.host),
        )
        lab.clock.run(3.0)
        self.assertIn(there, [Address(each.host, each.port) for each in sent])

    def test_outOfStep(self) -> None:
        """Nor do two sides of which one has had other rounds before: each rests, and only answers then."""
        lab = Lab(3)
        one, two = (lab.side(number, SEQUENTIAL, **symmetric(RandomPorts())) for number in (1, 2))
        lab.connect(one, two, 2)
        assert one.attempt is not None
        one.attempt._traversal._tries = 4
        lab.clock.run(590)
        self.assertLessEqual(one.attempt.story.rounds, 12)

    def test_rounds(self) -> None:
        """Two sides of which one is behind in its count do not go on and on."""
        for late in (0.0, 0.3, 2.0, 5.0):
            lab = Lab(1)
            # Not what they seem to be.
            one, two = (lab.side(number, EASY, **symmetric(RandomPorts())) for number in (1, 2))
            lab.connect(one, two, 3600, late=late)
            for side in (one, two):
                assert side.attempt is not None
                self.assertLessEqual(side.attempt.story.sockets, 30, (late, side.attempt.story.sockets))

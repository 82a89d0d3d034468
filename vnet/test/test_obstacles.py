"""
Why there is no direct path, and what would help.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.obstacles import EXAMPLE_PORT, Obstacle, OwnNat, obstacle, underWay
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.traversal import Story
from vnet.values import Address, NatReport, PortMapping

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"
PUBLIC = Address("203.0.113.7", 41641)
THEIRS = "198.51.100.9"

EASY = NatReport(
    udp=True, publicAddress=PUBLIC, natted=True, mapping=EI, filtering=APD, allocation="preserving"
)
RANDOM = attrs.evolve(EASY, mapping=APD, mappingVaries=True, allocation="random")
SEQUENTIAL = attrs.evolve(RANDOM, allocation="sequential", step=1)
CARRIER = attrs.evolve(RANDOM, allocation="block", ports=(1024, 1535), shared=True)
OPEN = NatReport(udp=True, publicAddress=PUBLIC, natted=False, mapping=EI, filtering=EI)

PEER_EASY = Traits(EI, APD, "preserving", host=THEIRS)
PEER_RANDOM = Traits(APD, APD, "random", host=THEIRS)
PEER_SEQUENTIAL = Traits(APD, APD, "sequential", step=2, host=THEIRS)
PEER_CARRIER = Traits(APD, APD, "block", low=1024, high=1535, host=THEIRS)
PEER_BLOCKED = Traits(blocked=True)
PEER_OPEN = Traits(EI, EI, host=THEIRS, natless=True)

FORWARD = f"forward UDP port {EXAMPLE_PORT} on your router to this computer and start vnet-client with --port={EXAMPLE_PORT}"
UPNP = "switch on UPnP or PCP in your router"
UPNP_THERE = "switch on UPnP or PCP in the router of bob, or forward a UDP port there and start bob's vnet-client with --port"
PROVIDER = (
    "your NAT is the provider's, where no port can be forwarded: "
    "ask the provider for a public address, or use IPv6 on both sides"
)


def story(
    peer: Traits | None,
    strategy: str = "",
    rounds: int = 0,
    probes: int = 0,
    sockets: int = 0,
    unseen: bool = False,
) -> Story:
    return Story(Traits(), peer, strategy, rounds, probes, sockets, unseen)


def found(own: NatReport, told: Story | None, isHeard: bool = False) -> Obstacle:
    return obstacle(OwnNat(own), "bob", told, isHeard)


class WhyTests(SynchronousTestCase):
    """
    The clause.
    """

    def test_cases(self) -> None:
        """Each pair has its reason."""
        blocked = NatReport(udp=False)
        pooled = attrs.evolve(RANDOM, hosts=("203.0.113.7", "203.0.113.8"))
        varies = NatReport(udp=True, publicAddress=PUBLIC, natted=True, mappingVaries=True)
        for own, told, expected in (
            (blocked, story(PEER_EASY), "no UDP gets out of this computer's network"),
            (blocked, None, "no UDP gets out of this computer's network"),
            (blocked, story(PEER_BLOCKED), "no UDP gets out of this computer's network, nor of bob's"),
            (EASY, story(PEER_BLOCKED, "hopeless"), "bob's network blocks UDP"),
            (
                RANDOM,
                story(PEER_RANDOM, "hopeless"),
                "both NATs give each destination a random port: one of you has to forward a port",
            ),
            (
                varies,
                story(PEER_CARRIER, "hopeless"),
                "both NATs give each destination a random port: one of you has to forward a port",
            ),
            (
                SEQUENTIAL,
                story(PEER_RANDOM, "hopeless"),
                "both NATs give each destination another port, bob's a random one: one of you has to forward a port",
            ),
            (
                RANDOM,
                story(PEER_SEQUENTIAL, "hopeless"),
                "both NATs give each destination another port, this computer's a random one: one of you has to forward a port",
            ),
            (
                SEQUENTIAL,
                story(PEER_SEQUENTIAL, "meet", 6, 288),
                "both NATs give each destination another port, and to predict both at once did not succeed (6 tries)",
            ),
            (
                RANDOM,
                story(PEER_EASY, "birthday", 1, 0, 256),
                "this computer's NAT gives each destination a random port: "
                "the port was not found, with 256 spare sockets opened for it",
            ),
            (
                SEQUENTIAL,
                story(PEER_EASY),
                "this computer's NAT gives each destination another port, one after the other: it is not guessed yet",
            ),
            (
                pooled,
                story(PEER_EASY),
                "this computer's NAT gives each destination another port, and sometimes another public address: "
                "it is not guessed yet",
            ),
            (
                EASY,
                story(PEER_RANDOM, "answer", 1, 2048),
                "bob's NAT gives each destination a random port: 2048 ports were guessed, and none was the right one",
            ),
            (
                EASY,
                story(PEER_RANDOM, "answer", unseen=True),
                "bob's NAT gives each destination a random port, and the mediator sees bob at another address than its NAT's "
                "(a proxy, or IPv6): ports are not guessed",
            ),
            (
                OPEN,
                story(PEER_RANDOM, "plain"),
                "bob's NAT gives each destination a random port, which this computer's lets in, but nothing got through: "
                "a firewall may drop UDP",
            ),
            (
                RANDOM,
                None,
                "this computer's NAT gives each destination a random port, and nothing is known of bob's yet",
            ),
            (
                EASY,
                story(PEER_EASY, "repair", 3),
                "nothing was heard from bob directly, though both NATs let peers in: a firewall may drop UDP on the way",
            ),
            (EASY, None, "nothing was heard from bob directly, and nothing is known of its NAT"),
            (NatReport(), None, "nothing was heard from bob directly, and nothing is known of its NAT"),
        ):
            self.assertEqual(found(own, told).why, expected)

    def test_heard(self) -> None:
        """Where the peer is heard, but does not hear, a firewall there is named."""
        self.assertIn("a firewall at bob may drop it", found(EASY, story(PEER_EASY), isHeard=True).why)
        # What the NATs do explains it better, where they do.
        self.assertIn("random port", found(EASY, story(PEER_RANDOM), isHeard=True).why)

    def test_forwarded(self) -> None:
        """A NAT that forwards a port is not in the way."""
        told = story(PEER_RANDOM, "hopeless")
        mapped = PortMapping("pcp", Address("203.0.113.7", 5), 7200)
        for own in (OwnNat(RANDOM, forwarded="open"), OwnNat(RANDOM, mapping=mapped)):
            reason = obstacle(own, "bob", told, False)
            self.assertTrue(reason.why.startswith("bob's NAT gives each destination a random port"))
            self.assertEqual(reason.help, (UPNP_THERE,))
        behind = attrs.evolve(mapped, behindCarrier=True)
        reason = obstacle(OwnNat(RANDOM, mapping=behind), "bob", told, False)
        self.assertTrue(reason.why.startswith("both NATs"))
        self.assertEqual(reason.help, (PROVIDER, UPNP_THERE))

    def test_certain(self) -> None:
        """What no traversal gets through is certain at once."""
        for own, peer, expected in (
            (RANDOM, PEER_RANDOM, True),
            (SEQUENTIAL, PEER_RANDOM, True),
            (EASY, PEER_BLOCKED, True),
            (NatReport(udp=False), PEER_EASY, True),
            (SEQUENTIAL, PEER_SEQUENTIAL, False),
            (EASY, PEER_RANDOM, False),
            (EASY, PEER_EASY, False),
        ):
            self.assertIs(found(own, story(peer)).isCertain, expected)


class HelpTests(SynchronousTestCase):
    """
    What would help.
    """

    def test_cases(self) -> None:
        """Each side is told what it can do."""
        blocked = NatReport(udp=False)
        here = "allow outgoing UDP in the firewall of this computer's network, or ask its administrator to"
        there = "bob's network blocks UDP: only its administrator can allow it"
        carrier = PROVIDER.replace("your NAT is the", "the NAT of bob is its")
        for own, peer, expected in (
            (blocked, PEER_EASY, (here,)),
            (blocked, PEER_BLOCKED, (here, there)),
            (RANDOM, PEER_BLOCKED, (there,)),
            (RANDOM, PEER_RANDOM, (FORWARD, UPNP, UPNP_THERE)),
            (RANDOM, PEER_OPEN, (FORWARD, UPNP)),
            (CARRIER, PEER_RANDOM, (PROVIDER, UPNP_THERE)),
            (RANDOM, PEER_CARRIER, (FORWARD, UPNP, carrier)),
            (OPEN, PEER_RANDOM, (UPNP_THERE,)),
        ):
            self.assertEqual(found(own, story(peer)).help, expected)

    def test_firewalls(self) -> None:
        """Where the NATs are no reason, firewalls are named first."""
        self.assertIn("firewalls of this computer and of bob", found(EASY, story(PEER_EASY)).help[0])
        self.assertIn("the firewall of bob", found(EASY, story(PEER_EASY), isHeard=True).help[0])
        self.assertIn("vnet netcheck", found(EASY, None).help[0])

    def test_port(self) -> None:
        """A port that the user has named is named again, with what its test has shown."""
        for own, expected in (
            (OwnNat(RANDOM, 5000), "forward UDP port 5000 on your router to this computer"),
            (
                OwnNat(RANDOM, 5000, forwarded="closed"),
                "forward UDP port 5000 on your router to this computer, from outside it is not reached",
            ),
            (
                OwnNat(RANDOM, mapping=PortMapping(reason="turned off by --no-port-mapping")),
                FORWARD,
            ),
        ):
            self.assertEqual(obstacle(own, "bob", story(PEER_RANDOM), False).help[0], expected)
        turnedOff = OwnNat(RANDOM, mapping=PortMapping(reason="turned off by --no-port-mapping"))
        self.assertIn("without --no-port-mapping", obstacle(turnedOff, "bob", None, False).help[1])


class UnderWayTests(SynchronousTestCase):
    """
    L{underWay}.
    """

    def test_cases(self) -> None:
        """While a path is sought it is said what is done."""
        start = "a direct path is being looked for"
        for told, expected in (
            (None, start),
            (story(PEER_RANDOM, "answer"), start),
            (
                story(PEER_RANDOM, "answer", 1, 512),
                f"{start}: 512 ports of bob's NAT were guessed so far",
            ),
            (
                story(PEER_EASY, "repair", 1, 0, 1),
                f"{start}: 1 spare socket opened for bob so far",
            ),
        ):
            self.assertEqual(underWay("bob", told), expected)

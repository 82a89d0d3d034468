"""
Two ICE agents with relays between them.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.agentevents import ConsentLost, Selected, Suspect
from vnet.protocols.machine.candidates import gather, priority
from vnet.test.icepeers import Couple, Peer, run
from vnet.test.natsim import Internet
from vnet.values import Address, Candidate

OPEN = ("endpoint-independent", "address-and-port-dependent")
SYMMETRIC = ("address-and-port-dependent", "address-and-port-dependent")


@attrs.define(eq=False)
class Relay:
    """
    A relay that both peers have allocations on, as a TURN server relays: only from hosts that were sent to.

    @ivar up: whether it works.
    """

    internet: Internet
    host: str
    name: str
    up: bool = True
    owners: dict[int, Peer] = attrs.field(factory=dict)
    permitted: set[tuple[int, str]] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.internet.members[self.host] = self._arrived

    def allocate(self, peer: Peer) -> Address:
        """
        Give a peer an allocation.

        @return: its relayed address.
        """
        relayed = Address(self.host, 40000 + len(self.owners))
        self.owners[relayed.port] = peer
        return relayed

    def send(self, peer: Peer, data: bytes, destination: Address) -> None:
        """
        Relay for a peer.
        """
        port = next(port for port, owner in self.owners.items() if owner is peer)
        self.permitted.add((port, destination.host))
        if self.up:
            self.internet.clock.callLater(
                self.internet.delay,
                self.internet.send,
                data,
                Address(self.host, port),
                Address(destination.host, destination.port),
            )

    def _arrived(self, data: bytes, source: Address, destination: Address) -> None:
        owner = self.owners.get(destination.port)
        if self.up and owner is not None and (destination.port, source.host) in self.permitted:
            via = Address(source.host, source.port, self.name)
            self.internet.clock.callLater(self.internet.delay, owner.driver.datagramReceived, data, via)


class RelayedCouple(Couple):
    """
    Two peers that have an allocation on each of some relays; C{blocked} names those whose UDP does not get out.

    @ivar cut: whether nothing passes directly; C{dark}: whether nothing passes at all.
    """

    def __init__(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        blocked: str = "",
        count: int = 1,
        loss: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(one, other, seed=seed)
        self.cut = self.dark = False
        self.blocked = blocked
        self.relays = [Relay(self.internet, f"203.0.113.{60 + n}", f"r{n}") for n in range(count)]
        self.internet.loss = loss
        for peer in (self.a, self.b):
            self._attach(peer)
        for peer, partner in ((self.a, self.b), (self.b, self.a)):
            self.tellRelays(peer, partner)

    def _attach(self, peer: Peer) -> None:
        def send(batch: list[tuple[bytes, Address]]) -> None:
            for data, address in batch:
                if address.via:
                    next(relay for relay in self.relays if relay.name == address.via).send(
                        peer, data, address
                    )
                elif peer.name not in self.blocked and not (self.cut and not self._isRelay(address)):
                    peer.host.send([(data, address)])

        peer.driver._send = send

    def _isRelay(self, address: Address) -> bool:
        return any(relay.host == address.host for relay in self.relays)

    def tellRelays(self, peer: Peer, partner: Peer) -> None:
        """
        Let a peer have its allocations, and the other know.
        """
        relayed = [relay.allocate(peer) for relay in self.relays]
        own = {relay.name: [each] for relay, each in zip(self.relays, relayed, strict=True)}
        peer.agent.setRelays(own, self.clock.seconds())
        for candidate in gather(peer.host.addresses, peer.host.port, peer.mapped, relayed):
            peer.agent.addLocalCandidate(candidate)
            if candidate.kind == "relay":
                partner.agent.addRemoteCandidate(candidate, self.clock.seconds())
        for each in (peer, partner):
            each.driver.wake()

    def traffic(self, seconds: float) -> None:
        """
        Let time pass while the tunnel carries something both ways: what is sent on a path that does not work is not heard.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            run(self.clock, 0.1)
            for peer in (self.a, self.b):
                peer.agent.noteTraffic(self.clock.seconds())
                if not self.works(peer):
                    peer.agent.doubt(self.clock.seconds())
                peer.driver.wake()

    def hostsOf(self, peer: Peer) -> set[str]:
        """
        The relays that a peer's path goes through.
        """
        path = peer.agent.selected
        if path is None:
            return set()
        own = {relay.host for relay in self.relays if relay.name == path.allocation}
        return own | ({path.address.host} if self._isRelay(path.address) else set())

    def works(self, peer: Peer) -> bool:
        """
        Whether a peer's path carries anything.
        """
        path = peer.agent.selected
        if path is None or self.dark or (self.cut and not path.relayed):
            return False
        return all(relay.up for relay in self.relays if relay.host in self.hostsOf(peer))

    def relayedAt(self) -> tuple[bool, bool]:
        """
        Whether the path of each side is relayed.
        """
        paths = [peer.agent.selected for peer in (self.a, self.b)]
        return tuple(path is not None and path.relayed for path in paths)  # type: ignore[return-value]


class RelayedTests(SynchronousTestCase):
    def test_blocked(self) -> None:
        """Where UDP does not get out on one side, on both, or both NATs are symmetric, a relay carries from half a second on."""
        cases = [
            RelayedCouple(OPEN, OPEN, "alice"),
            RelayedCouple(OPEN, OPEN, "alice bob"),
            RelayedCouple(SYMMETRIC, SYMMETRIC),
            RelayedCouple(SYMMETRIC, OPEN),
        ]
        for number, couple in enumerate(cases):
            couple.run(1.0)
            couple.run(0.6)
            self.assertTrue(couple.connected, number)
            couple.run(300)
            self.assertEqual(couple.relayedAt(), (True, True), number)
            for peer in (couple.a, couple.b):
                self.assertLessEqual(len(peer.of(Selected)), 3, number)
                self.assertEqual(peer.of(ConsentLost), [], number)

    def test_loss(self) -> None:
        """The same with 2 percent of all packets lost."""
        for seed in range(20):
            couple = RelayedCouple(OPEN, OPEN, "alice bob", loss=0.02, seed=seed)
            couple.run(3.0)
            self.assertTrue(couple.connected, seed)

    def test_direct(self) -> None:
        """A direct path takes over from the relayed one at once, and the relayed one is ready afterwards, on both sides."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(2.0)
        self.assertEqual(couple.relayedAt(), (False, False))
        couple.run(60)
        for peer in (couple.a, couple.b):
            standby = peer.agent.standby
            self.assertTrue(standby is not None and standby.relayed)
            last = peer.of(Selected)[-1]
            self.assertTrue(isinstance(last, Selected) and last.reason in ("found", "better"))

    def test_cutAndHealed(self) -> None:
        """A direct path that is cut gives way to the relay within 0.6 s, and comes back when it is healed, without flapping."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(20.0)
        couple.traffic(5.0)
        couple.cut, cutAt = True, couple.clock.seconds()
        couple.traffic(0.6)
        self.assertEqual(couple.relayedAt(), (True, True))
        for peer in (couple.a, couple.b):
            time, event = next(each for each in peer.events if each[0] > cutAt)
            self.assertTrue(isinstance(event, Selected) and event.reason == "doubt")
            self.assertLessEqual(time - cutAt, 0.6)
        couple.traffic(60.0)
        self.assertEqual(couple.relayedAt(), (True, True))
        before = len(couple.a.of(Selected)) + len(couple.b.of(Selected))
        couple.cut = False
        couple.traffic(330.0)
        self.assertEqual(couple.relayedAt(), (False, False))
        couple.traffic(600.0)
        switches = len(couple.a.of(Selected)) + len(couple.b.of(Selected)) - before
        self.assertLessEqual(switches, 4)
        self.assertEqual(couple.a.of(ConsentLost) + couple.b.of(ConsentLost), [])

    def test_shortCut(self) -> None:
        """After an interruption of a second the direct path is back within some seconds."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(20.0)
        couple.cut = True
        couple.traffic(1.0)
        couple.cut = False
        couple.traffic(6.0)
        self.assertEqual(couple.relayedAt(), (False, False))

    def test_outage(self) -> None:
        """After an outage of the whole network, short or long, the direct path is in use again before long."""
        for outage in (3.0, 10.0, 25.0, 60.0):
            couple = RelayedCouple(OPEN, OPEN)
            couple.run(20.0)
            couple.internet.cut = couple.dark = True
            couple.traffic(outage)
            couple.internet.cut = couple.dark = False
            couple.traffic(12.0)
            self.assertEqual(couple.relayedAt(), (False, False), outage)

    def test_doubtIsCheap(self) -> None:
        """A path that answers is doubted without any consequence, and asked three times a second at most."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(20.0)
        events, sent = list(couple.a.events), len(couple.internet.log)
        for _ in range(100):
            couple.a.agent.doubt(couple.clock.seconds())
            couple.a.driver.wake()
            couple.run(0.1)
        self.assertEqual(couple.a.events, events)
        self.assertLess(len(couple.internet.log) - sent, 10 * 3.5 * 4)

    def test_relayDies(self) -> None:
        """When a relay dies and its allocations with it, the other relay carries on at once."""
        couple = RelayedCouple(OPEN, OPEN, "alice bob", count=2)
        couple.run(20.0)
        self.assertEqual(couple.relayedAt(), (True, True))
        path = couple.a.agent.selected
        dead = next(relay for relay in couple.relays if path is not None and relay.name == path.allocation)
        dead.up = False
        alive = [relay.name for relay in couple.relays if relay.up]
        couple.run(1.0)
        for peer in (couple.a, couple.b):
            own = {name: each for name, each in peer.agent._core.relays.items() if name in alive}
            peer.agent.setRelays(own, couple.clock.seconds())
            peer.driver.wake()
        couple.run(10.0)
        for peer in (couple.a, couple.b):
            selected = peer.agent.selected
            self.assertTrue(selected is not None and selected.allocation in alive)

    def test_manyAddresses(self) -> None:
        """Though both have a dozen addresses that lead nowhere, a relay carries within half a second of the start."""
        for blocked in ("alice bob", "alice", ""):
            couple = RelayedCouple(SYMMETRIC, SYMMETRIC, blocked, count=2)
            for peer in (couple.a, couple.b):
                for number in range(12):
                    address = Address(f"10.{number}.0.9", 1000)
                    peer.agent.addRemoteCandidate(
                        Candidate("host", address, priority("host", number), "f"), 0.0
                    )
            couple.run(1.5)
            self.assertTrue(couple.connected, blocked)

    def test_relayGoneUnderTraffic(self) -> None:
        """When the relay that carries the traffic dies, one that shares nothing with it takes over in half a second."""
        for blocked in ("alice bob", "alice"):
            couple = RelayedCouple(OPEN, OPEN, blocked, count=2)
            couple.run(60.0)
            couple.traffic(20.0)
            for peer in (couple.a, couple.b):
                path, standby = peer.agent.selected, peer.agent.standby
                self.assertTrue(path is not None and standby is not None)
            used = [couple.hostsOf(peer) for peer in (couple.a, couple.b)]
            dead = next(relay for relay in couple.relays if relay.host in used[0])
            dead.up, diedAt = False, couple.clock.seconds()
            couple.traffic(0.8)
            for peer in (couple.a, couple.b):
                self.assertNotIn(dead.host, couple.hostsOf(peer), blocked)
                time, event = peer.events[-1]
                self.assertTrue(isinstance(event, Selected) and event.reason == "doubt", event)
                self.assertLessEqual(time - diedAt, 0.8)

    def test_ready(self) -> None:
        """A path is ready that answers and is not selected, and no other."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(20.0)
        agent, now = couple.a.agent, couple.clock.seconds()
        standby, selected = agent.standby, agent.selected
        self.assertTrue(standby is not None and agent.isReady(standby.address, now))
        self.assertFalse(selected is None or agent.isReady(selected.address, now))
        self.assertFalse(agent.isReady(Address("192.0.2.99", 9), now))
        self.assertFalse(standby is not None and agent.isReady(standby.address, now + 60))

    def test_suspect(self) -> None:
        """Where there is no other path, a path that does not answer is told to be suspect, and it stays."""
        couple = RelayedCouple(OPEN, OPEN, "alice bob")
        couple.run(20.0)
        before = len(couple.a.of(Selected))
        couple.relays[0].up = False
        couple.traffic(2.0)
        self.assertGreater(len(couple.a.of(Suspect)), 0)
        self.assertEqual((len(couple.a.of(Selected)), couple.a.of(ConsentLost)), (before, []))
        couple.relays[0].up = True
        couple.traffic(10.0)
        self.assertTrue(couple.connected)

    def test_proven(self) -> None:
        """A selection tells up to when what was sent on the path before has arrived."""
        couple = RelayedCouple(OPEN, OPEN)
        couple.run(20.0)
        couple.a.agent.doubt(couple.clock.seconds())
        couple.a.driver.wake()
        asked = couple.clock.seconds()
        couple.run(0.5)
        couple.cut = True
        couple.traffic(0.6)
        _, event = couple.a.events[-1]
        self.assertTrue(isinstance(event, Selected) and abs(event.provenAt - asked) < 0.02, event)

    def test_newAllocations(self) -> None:
        """However often the peer's allocations change, the newest ones are tried, and old ones that are of no use go."""
        couple = RelayedCouple(OPEN, OPEN, "alice bob", count=2)
        couple.run(5.0)
        for _ in range(60):
            couple.tellRelays(couple.b, couple.a)
            couple.run(20.0)
        newest = [relay.host for relay in couple.relays]
        tried = [address for address in couple.a.agent.tried if address.host in newest]
        self.assertGreater(len(tried), 0)
        known = {pair.address.port for pair in couple.a.agent._core.checklist if pair.address.via}
        self.assertTrue({port for relay in couple.relays for port in list(relay.owners)[-1:]} <= known)
        self.assertLessEqual(len([p for p in couple.a.agent._core.checklist if p.address.via]), 24)
        self.assertTrue(couple.connected)

    def test_bounded(self) -> None:
        """However many candidates a peer names, no more than 24 of them are tried through relays, and none inside a home."""
        couple = RelayedCouple(OPEN, OPEN, count=2)
        for number in range(60):
            address = Address(f"198.51.100.{100 + number}", 1000)
            couple.a.agent.addRemoteCandidate(Candidate("srflx", address, priority("srflx"), "f"), 0.0)
            private = Address(f"192.168.77.{number}", 1000)
            couple.a.agent.addRemoteCandidate(Candidate("host", private, priority("host"), "f"), 0.0)
        relayed = [pair.address for pair in couple.a.agent._core.checklist if pair.address.via]
        self.assertLessEqual(len(relayed), 24)
        self.assertFalse([each for each in relayed if each.host.startswith("192.168.")])

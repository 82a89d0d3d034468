"""
Tests for the data path of the WireGuard machine: W16 and W21 to W23 of the list that
L{vnet.test.test_wireguard} tells of.
"""

from __future__ import annotations

from vnet.protocols.machine import device, session
from vnet.protocols.machine.keypair import REJECT_AFTER_MESSAGES
from vnet.protocols.machine.wireguard import (
    EndpointMoved,
    PacketsReceived,
)
from vnet.test.wgpair import ADDRESSES, STRANGER, SessionTestCase, ipPacket, makeMachine, trainsOf
from vnet.values import Address, Train


class DataTests(SessionTestCase):
    """
    W16 and W21 to W23.
    """

    def setUp(self) -> None:
        super().setUp()
        self.establish()

    def seal(self, number: int, *packets: bytes) -> list[bytes]:
        """
        Datagrams of machine C{number} that are not yet on the wire.
        """
        machine = self.pair.machines[number]
        machine.send(self.pair.publicKey(number), packets, self.pair.now)
        return [data for data, _ in machine.datagramsToSend(self.pair.now)]

    def deliver(self, number: int, *datagrams: bytes, addr: Address | None = None) -> list[bytes]:
        """
        Give datagrams to machine C{number}, and take the packets that come out.
        """
        machine = self.pair.machines[number]
        source = addr or ADDRESSES[1 - number]
        machine.receiveTrains(trainsOf((data, source) for data in datagrams), self.pair.now)
        self.pair.run()
        return self.pair.received(number)

    def test_w16_replay(self) -> None:
        """
        Each message is delivered once, in any order, in one batch or several, and not when it is too late.
        """
        packets = [self.pair.packet(0, number.to_bytes(2, "big")) for number in range(9000)]
        sealed = self.seal(0, *packets)
        self.assertEqual(self.deliver(1, sealed[5], sealed[3], sealed[5]), [packets[5], packets[3]])
        self.assertEqual(self.deliver(1, sealed[3], sealed[4], sealed[5]), [packets[4]])
        self.assertEqual(self.deliver(1, sealed[8999]), [packets[8999]])
        edge = 8999 - 8128
        self.assertEqual(self.deliver(1, sealed[edge - 1], sealed[edge]), [packets[edge]])
        self.assertEqual(self.pair.machines[1].counters["replayed"], 4)

    def test_w16_afterAuthentication(self) -> None:
        """
        A forged message with a high counter does not move the window.
        """
        packets = [self.pair.packet(0, b"1"), self.pair.packet(0, b"2")]
        sealed = self.seal(0, *packets)
        forged = sealed[0][:8] + (2**40).to_bytes(8, "little") + sealed[0][16:]
        self.assertEqual(self.deliver(1, forged, *sealed), packets)
        self.assertEqual(dict(self.pair.machines[1].counters), {"badTag": 1})

    def test_w10_rejectReceived(self) -> None:
        """
        A message with a counter from 2**64 - 2**13 - 1 on is dropped, though it be authentic.
        """
        keypair = self.keypair(0)
        for counter, count in ((REJECT_AFTER_MESSAGES, 0), (2**64 - 1, 0), (REJECT_AFTER_MESSAGES - 1, 1)):
            number = counter.to_bytes(8, "little")
            sealed = keypair.prefix + number + keypair.seal(bytes(4) + number, self.pair.packet(0), None)
            self.assertEqual(len(self.deliver(1, sealed)), count)

    def test_w21_roaming(self) -> None:
        """
        The endpoint follows the source of the newest authentic message; not a replay, a forgery or an older message.
        """
        pair = self.pair
        machine = pair.machines[1]
        old, new, third = self.seal(0, *[pair.packet(0)] * 3)
        moved = Address("203.0.113.50", 50)
        self.deliver(1, new, addr=moved)
        self.assertEqual(pair.events(1), [EndpointMoved(pair.publicKey(1), moved)])
        for data in (new, third[:-1] + b"\0", old):
            self.deliver(1, data, addr=STRANGER)
        self.assertEqual(machine.peerStatus(pair.publicKey(1)).endpoint, moved)
        machine.send(pair.publicKey(1), [pair.packet(1)], pair.now)
        self.assertEqual([addr for _, addr in machine.datagramsToSend(pair.now)], [moved])
        self.deliver(1, third)
        self.assertEqual(machine.peerStatus(pair.publicKey(1)).endpoint, ADDRESSES[0])

    def test_w21_anyType(self) -> None:
        """
        A keepalive, an initiation and a response move the endpoint too; a damaged initiation does not.
        """
        pair = self.pair
        first, second = pair.machines
        places = [Address("203.0.113.50", port) for port in range(1, 5)]
        self.deliver(1, *self.seal(0, b""), addr=places[0])
        pair.now += 1
        first.initiate(pair.publicKey(0), pair.now)
        initiation = first.datagramsToSend(pair.now)[0][0]
        second.receive(initiation[:100] + b"\0\0" + initiation[102:], STRANGER, pair.now)
        second.receive(initiation, places[1], pair.now)
        [(response, addr)] = second.datagramsToSend(pair.now)
        self.assertEqual(addr, places[1])
        first.receive(response, places[2], pair.now)
        self.assertEqual([addr for _, addr in first.datagramsToSend(pair.now)], [places[2]])
        pair.run()
        self.assertEqual(pair.events(1), [EndpointMoved(pair.publicKey(1), place) for place in places[:2]])

    def test_noRoaming(self) -> None:
        """
        Where the owner alone decides the endpoint stays, and what comes from elsewhere is told once a second, however much
        it is; an initiation is answered where it came from.
        """
        pair, peer = self.pair, self.pair.publicKey(1)
        machine = pair.machines[1]
        machine.addPeer(peer, allowedIps=["100.64.0.1/32"], roaming=False)
        for wait, told in ((0.0, 1), (0.5, 0), (0.6, 1)):
            pair.now += wait
            self.deliver(1, *self.seal(0, pair.packet(0)), addr=STRANGER)
            self.assertEqual(pair.events(1), [EndpointMoved(peer, STRANGER)] * told)
        machine.send(peer, [pair.packet(1)], pair.now)
        self.assertEqual([addr for _, addr in machine.datagramsToSend(pair.now)], [ADDRESSES[0]])
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        machine.receive(pair.machines[0].datagramsToSend(pair.now)[0][0], STRANGER, pair.now)
        self.assertEqual([addr for _, addr in machine.datagramsToSend(pair.now)], [STRANGER])
        self.assertEqual(machine.peerStatus(peer).endpoint, ADDRESSES[0])

    def test_noRoamingConfirms(self) -> None:
        """
        A session that was made while the endpoint was not known is confirmed to the peer as soon as it is.
        """
        pair, peer = self.pair, self.pair.publicKey(0)
        machine = pair.machines[0]
        machine.addPeer(peer, allowedIps=["100.64.0.2/32"], roaming=False)
        pair.now += 10
        machine.initiate(peer, pair.now)
        initiation = machine.datagramsToSend(pair.now)[0][0]
        machine.setEndpoint(peer, None)
        pair.machines[1].receive(initiation, ADDRESSES[0], pair.now)
        machine.receive(pair.machines[1].datagramsToSend(pair.now)[0][0], ADDRESSES[1], pair.now)
        self.assertEqual(machine.datagramsToSend(pair.now), [])
        machine.setEndpoint(peer, ADDRESSES[1])
        [(keepalive, _)] = machine.datagramsToSend(pair.now)
        self.assertEqual(len(keepalive), 32)

    def test_w22_source(self) -> None:
        """
        Of what a peer sends only packets from its own addresses come out, of both versions; an address belongs to
        the peer with the longest prefix.
        """
        pair = self.pair
        machine = pair.machines[1]
        machine.addPeer(pair.publicKey(1), allowedIps=["100.64.0.0/24", "fd00::/64"])
        other = makeMachine("c").publicKey
        machine.addPeer(other, allowedIps=["100.64.0.9/32", "fd00::9/128"])
        four, six = b"\x64\x40\x00", b"\xfd\x00" + bytes(13)
        for source, fine in (
            (four + b"\x01", True),
            (four + b"\x08", True),
            (four + b"\x09", False),
            (b"\x64\x40\x01\x01", False),
            (bytes(4), False),
            (six + b"\x01", True),
            (six + b"\x09", False),
            (bytes(16), False),
        ):
            packet = ipPacket(source, source)
            self.assertEqual(self.deliver(1, *self.seal(0, packet)), [packet] if fine else [])
        self.assertEqual(machine.counters["wrongSource"], 5)

    def test_w22_shape(self) -> None:
        """
        Inner packets of another version than 4 and 6, cut short, or longer than what came, are dropped; what is
        behind their end is cut off.
        """
        four, six = self.pair.packet(0), ipPacket(b"\xfd\x00" + bytes(13) + b"\x01", bytes(16), b"12345")
        self.assertEqual(self.deliver(1, *self.seal(0, four + b"tail", six + b"tail")), [four, six])
        for bad in (
            b"\x00" * 40,
            b"\x55" + four[1:],
            b"\x45",
            four[:2] + b"\xff\xff" + four[4:],
            four[:2] + b"\x00\x13" + four[4:],
            four[:16],
            six[:32],
            six[:4] + b"\x00\xff" + six[6:],
        ):
            self.assertEqual(self.deliver(1, *self.seal(0, bad)), [], bad)

    def test_w22_out(self) -> None:
        """
        The longest prefix says whose a destination is, however it is written.
        """
        machine = makeMachine("d")
        keys = [makeMachine(number).publicKey for number in range(3)]
        machine.addPeer(keys[0], allowedIps=["0.0.0.0/0", "::/0"])
        machine.addPeer(keys[1], allowedIps=["100.64.0.0/10"])
        machine.addPeer(keys[2], allowedIps=["100.64.0.7/32", "fd00::7/128"])
        self.assertEqual(machine.peerFor("192.0.2.1"), keys[0])
        self.assertEqual(machine.peerFor("100.65.0.1"), keys[1])
        self.assertEqual(machine.peerFor(b"\x64\x40\x00\x07"), keys[2])
        self.assertEqual(machine.peerFor("fd00::7"), keys[2])
        self.assertEqual(machine.peerFor(bytes(16)), keys[0])
        machine.removePeer(keys[0])
        self.assertIsNone(machine.peerFor("192.0.2.1"))

    def test_w23_padding(self) -> None:
        """
        Packets are padded with zeros to a multiple of 16, but not past the MTU.
        """
        for size, padded in (
            (20, 32),
            (32, 32),
            (33, 48),
            (1391, 1392),
            (1393, 1400),
            (1400, 1400),
            (1500, 1500),
        ):
            packet = self.pair.packet(0, b"\xff" * (size - 20))
            [sealed] = self.seal(0, packet)
            self.assertEqual(len(sealed), 32 + padded)
            plaintext = self.keypair(1).open(bytes(4) + sealed[8:16], sealed[16:], None)
            self.assertEqual(plaintext, packet + bytes(padded - size))
            self.assertEqual(self.deliver(1, sealed), [packet])

    def test_batch(self) -> None:
        """
        A batch from several peers, with garbage between, comes out as one event for each run, in order.
        """
        pair = self.pair
        server = pair.machines[1]
        other = makeMachine("c")
        server.addPeer(other.publicKey, allowedIps=["100.64.0.3/32"])
        other.addPeer(server.publicKey, allowedIps=["100.64.0.2/32"], endpoint=ADDRESSES[1])
        place = Address("192.0.2.3", 3)
        theirs = ipPacket(b"\x64\x40\x00\x03", b"\x64\x40\x00\x02")
        other.send(server.publicKey, [theirs], pair.now)
        for data, _ in other.datagramsToSend(pair.now):
            server.receive(data, place, pair.now)
        for data, _ in server.datagramsToSend(pair.now):
            other.receive(data, ADDRESSES[1], pair.now)
        first = self.seal(0, *[pair.packet(0)] * 3)
        second = [data for data, _ in other.datagramsToSend(pair.now)]
        while server.nextEvent() is not None:
            pass
        batch = [(data, ADDRESSES[0]) for data in first[:2]] + [(b"\x04", place), (b"", place)]
        batch += [(data, place) for data in second] + [(first[2], ADDRESSES[0])]
        server.receiveTrains(trainsOf(batch), pair.now)
        events = []
        while (event := server.nextEvent()) is not None:
            events.append(event)
        self.assertEqual(
            [event for event in events if isinstance(event, PacketsReceived)],
            [
                PacketsReceived(pair.publicKey(1), [[pair.packet(0)]] * 2),
                PacketsReceived(other.publicKey, [[theirs]]),
                PacketsReceived(pair.publicKey(1), [[pair.packet(0)]]),
            ],
        )

    def test_train(self) -> None:
        """
        A train of large packets comes out as it went in; without what is damaged, came before, or is empty.  What was told of and
        not taken yet is not written over.
        """
        pair, machine = self.pair, self.pair.machines[1]
        packets = [pair.packet(0, bytes((number,)) * 980) for number in range(6)]
        sealed = self.seal(0, *packets, packets[0][:1000])
        self.assertEqual(len({len(each) for each in sealed}), 1)
        shorter = self.seal(0, *packets, pair.packet(0, b"short"))
        empty = [*self.seal(0, *packets), self.keepaliveOf(0)]
        damaged = self.seal(0, *packets)
        damaged[3] = damaged[3][:-1] + bytes((damaged[3][-1] ^ 1,))
        again = damaged[:3] + self.seal(0, *packets)
        wanted = (
            [*packets, packets[0]],
            [*packets, pair.packet(0, b"short")],
            packets,
            packets[:3] + packets[4:],
            packets,
        )
        for datagrams in (sealed, shorter, empty, damaged, again):
            machine.receiveTrains(
                [Train(b"".join(datagrams), len(datagrams[0]), ADDRESSES[0], 0, len(datagrams[0]))], pair.now
            )
        pair.run()
        self.assertEqual(pair.received(1), [packet for each in wanted for packet in each])
        self.assertEqual((machine.counters["badTag"], machine.counters["replayed"]), (1, 3))
        for number in range(20):
            datagrams = self.seal(0, *[pair.packet(0, bytes((number,)) * 980)] * 5)
            self.assertEqual(self.deliver(1, *datagrams), [pair.packet(0, bytes((number,)) * 980)] * 5)

    def keepaliveOf(self, number: int) -> bytes:
        """
        A datagram with nothing in it.
        """
        machine = self.pair.machines[number]
        machine.keepalive(self.pair.publicKey(number), self.pair.now)
        ((data, _),) = machine.datagramsToSend(self.pair.now)
        return data

    def test_addPeerAgain(self) -> None:
        """
        Adding a peer again changes its addresses and keeps its session; what is wrong changes nothing.
        """
        pair = self.pair
        machine = pair.machines[1]
        machine.addPeer(pair.publicKey(1), allowedIps=["100.64.0.77/32"])
        self.assertTrue(machine.peerStatus(pair.publicKey(1)).established)
        self.assertEqual(self.deliver(1, *self.seal(0, pair.packet(0))), [])
        for options in ({"allowedIps": ["nonsense"]}, {"allowedIps": [], "presharedKeys": [b"short"]}):
            self.assertRaises(ValueError, machine.addPeer, pair.publicKey(1), **options)
        self.assertEqual(machine.peerFor("100.64.0.77"), pair.publicKey(1))

    def test_maxPeers(self) -> None:
        """
        There are no more peers than was said.
        """
        machine = makeMachine("e", maxPeers=1)
        machine.addPeer(makeMachine(1).publicKey, allowedIps=[])
        machine.addPeer(makeMachine(1).publicKey, allowedIps=[])
        self.assertRaises(ValueError, machine.addPeer, makeMachine(2).publicKey, allowedIps=[])

    def test_backlog(self) -> None:
        """
        What nobody takes does not pile up: not what is to be sent, and not what came.
        """
        pair = self.pair
        sealed = self.seal(0, *[pair.packet(0)] * 3)
        for module in (device, session):
            self.patch(module, "BACKLOG", 2)
        machine = pair.machines[1]
        for data in sealed:
            machine.receive(data, pair.addresses[0], pair.now)
        self.assertEqual(machine.counters.pop("backlog"), 1)
        for _ in range(5):
            machine.send(pair.publicKey(1), [pair.packet(1)], pair.now)
        self.assertEqual(machine.counters["backlog"], 3)
        self.assertEqual(len(machine.datagramsToSend(pair.now)), 2)

    def test_bytes(self) -> None:
        """
        The status counts the bytes of datagrams, the same at both ends.
        """
        pair = self.pair
        for number in (0, 1):
            pair.send(number, pair.packet(number))
        first, second = (pair.machines[number].peerStatus(pair.publicKey(number)) for number in (0, 1))
        self.assertEqual((first.rxBytes, first.txBytes), (second.txBytes, second.rxBytes))
        self.assertEqual((first.rxBytes, first.txBytes), (92 + 64, 148 + 64 + 64))
        self.assertEqual(first.lastHandshake, 1000.0)

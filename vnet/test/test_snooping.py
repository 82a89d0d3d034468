"""
Tests for L{vnet.client.dataplane.snooping}, through the forwarder with a scripted machine.
"""

from __future__ import annotations

from ipaddress import ip_address

from vnet.client.dataplane.clamp import Limit
from vnet.protocols.codec.ethernet import IPV4, IPV6, OWN_MAC, multicastMac4, multicastMac6
from vnet.protocols.codec.grouprecords import IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, GroupRecord
from vnet.protocols.codec.igmp import decodeIgmpReport, encodeIgmpQuery, encodeIgmpReport
from vnet.protocols.codec.ip import UDP, encodeIp4, encodeIp6
from vnet.protocols.codec.mld import decodeMldReport, encodeMldQuery, encodeMldReport
from vnet.protocols.machine.pathmtu import SMALLEST
from vnet.protocols.machine.wireguardevents import SessionEstablished
from vnet.test.test_forwarder import BOB, STATUS, Scripted, frame4, frame6
from vnet.test.test_groups import DATA, EVERYBODY, MDNS
from vnet.test.test_igmp import igmp
from vnet.test.test_ip import A4, A6, B4, B6

CAROL, CAROL4 = b"c" * 32, bytes((100, 64, 0, 3))
GAME, OTHER = bytes((239, 1, 2, 3)), bytes((224, 0, 2, 60))
GAME6, OTHER6 = ip_address("ff15::99").packed, ip_address("ff0e::77").packed
SSDP, SSDP6 = bytes((239, 255, 255, 250)), ip_address("ff05::c").packed
REPORTS, REPORTS6 = bytes((224, 0, 0, 22)), ip_address("ff02::16").packed


def records(kind: int, *groups: bytes) -> list[GroupRecord]:
    return [GroupRecord(kind, group) for group in groups]


def four(group: bytes) -> bytes:
    return encodeIp4(A4, group, UDP, DATA)


def six(group: bytes) -> bytes:
    return encodeIp6(A6, group, UDP, DATA)


class SnoopingCase(Scripted):
    """
    Bob and Carol have paths.
    """

    def setUp(self) -> None:
        super().setUp()
        self.machine.statuses[CAROL] = STATUS
        self.machine.peers[CAROL4] = CAROL
        self.forwarder.addMember(CAROL, "100.64.0.3", "fd00::3")
        for key in (BOB, CAROL):
            self.forwarder.setLive(key, True)

    def system(self, kind: int, *groups: bytes) -> None:
        """Our operating system reports."""
        for found in (records(kind, *(each for each in groups if len(each) == size)) for size in (4, 16)):
            if found and len(found[0].group) == 4:
                self.device.deliver([frame4(encodeIgmpReport(A4, found), multicastMac4(REPORTS))])
            elif found:
                packet = encodeMldReport(bytes(16), found)
                self.device.deliver([frame6(packet, multicastMac6(REPORTS6))])

    def quiet(self) -> None:
        """All that is to be told has been."""
        self.clock.pump([1, 2, 4, 8])
        self.told()

    def told(self) -> dict[bytes, list[set[bytes]]]:
        """What each was told since the last time, in order."""
        found: dict[bytes, list[set[bytes]]] = {}
        for key, packets in self.machine.sent:
            for packet in packets:
                isIp4 = packet[0] >> 4 == 4
                decoded = decodeIgmpReport(packet) if isIp4 else decodeMldReport(packet)
                self.assertEqual({each.kind for each in decoded} | {IS_EXCLUDE}, {IS_EXCLUDE})
                self.assertEqual(packet[12:16] if isIp4 else packet[8:24], A4 if isIp4 else A6)
                found.setdefault(key, []).append({each.group for each in decoded})
        self.machine.sent.clear()
        return found

    def bobListens(self, *groups: bytes) -> None:
        self.assertEqual(self.fromBob(encodeIgmpReport(B4, records(IS_EXCLUDE, *groups))), [])

    def reached(self, packet: bytes) -> list[bytes]:
        """Whom a packet of ours to a group reaches."""
        self.machine.sent.clear()
        frame = (
            frame4(packet, b"\x01" + bytes(5)) if packet[0] >> 4 == 4 else frame6(packet, b"\x33" + bytes(5))
        )
        self.device.deliver([frame])
        sent, self.machine.sent = self.machine.sent, []
        self.assertTrue(all(packets == (packet,) for _, packets in sent))
        return [key for key, _ in sent]


class TellingTests(SnoopingCase):
    """
    What members are told.
    """

    def test_changes(self) -> None:
        """What programs join and leave is told at once to each member that has a path, and again for a while."""
        self.system(TO_EXCLUDE, GAME)
        self.assertEqual(self.told(), {BOB: [{GAME}], CAROL: [{GAME}]})
        for seconds in (1, 2, 4, 8):
            self.clock.advance(seconds - 0.5)
            self.assertEqual(self.told(), {})
            self.clock.advance(0.5)
            self.assertEqual(self.told(), {BOB: [{GAME}], CAROL: [{GAME}]})
        self.clock.advance(99)
        self.assertEqual(self.told(), {})
        self.system(TO_EXCLUDE, GAME6, OTHER6)
        self.assertEqual(self.told()[BOB], [{GAME}, {GAME6, OTHER6}])
        self.clock.advance(0.5)
        self.system(TO_INCLUDE, GAME)
        self.assertEqual(self.told()[CAROL], [set(), {GAME6, OTHER6}])
        self.clock.pump([1, 2, 4, 8])
        self.assertEqual(self.told()[CAROL], [set(), {GAME6, OTHER6}] * 4)

    def test_sameAgain(self) -> None:
        """The operating system says all twice, and answers queries: what has not changed is not told."""
        self.system(TO_EXCLUDE, GAME)
        self.quiet()
        for kind in (TO_EXCLUDE, IS_EXCLUDE):
            self.system(kind, GAME, MDNS)
        self.assertEqual(self.told(), {})

    def test_oldSystem(self) -> None:
        """Reports of the older versions count, too."""
        self.device.deliver([frame4(igmp(0x16, GAME), multicastMac4(GAME))])
        self.assertEqual(self.told()[BOB], [{GAME}])
        self.device.deliver([frame4(igmp(0x17, GAME, to=bytes((224, 0, 0, 2))), multicastMac4(GAME))])
        self.assertEqual(self.told()[BOB], [set()])
        self.assertEqual(self.forwarder.counters["listeners"], 0)

    def test_others(self) -> None:
        """What others behind the interface leave our operating system may still listen to; from no address it is its own word."""
        self.system(TO_EXCLUDE, GAME, GAME6)
        self.quiet()
        for source, source6 in (
            (bytes((172, 17, 0, 2)), ip_address("fe80::2").packed),
            (bytes(4), bytes(16)),
        ):
            for packet, to in (
                (encodeIgmpReport(source, records(TO_INCLUDE, OTHER)), multicastMac4(REPORTS)),
                (encodeMldReport(source6, records(TO_INCLUDE, OTHER6)), multicastMac6(REPORTS6)),
            ):
                self.device.deliver([frame4(packet, to) if packet[0] >> 4 == 4 else frame6(packet, to)])
        self.system(TO_INCLUDE, GAME, GAME6)
        self.assertEqual(self.told(), {})

    def test_ownAddress(self) -> None:
        """Before it has an address our operating system leaves a group from none."""
        self.system(TO_EXCLUDE, GAME)
        self.quiet()
        self.device.deliver(
            [frame4(encodeIgmpReport(bytes(4), records(TO_INCLUDE, GAME)), multicastMac4(REPORTS))]
        )
        self.assertEqual(self.told()[BOB], [set()])

    def test_nothingKnown(self) -> None:
        """
        Until the operating system has reported anything nothing is told, since a filter may hold its reports back; a group that
        is for all shows that none does.
        """
        self.forwarder.flush()
        self.machine.events.append(SessionEstablished(BOB))
        self.forwarder.flush()
        self.assertEqual(self.told(), {})
        self.system(IS_EXCLUDE, MDNS)
        self.assertEqual(self.told(), {BOB: [set()], CAROL: [set()]})

    def test_session(self) -> None:
        """A member is told when a session with it begins; not more often than it can have sessions."""
        self.system(TO_EXCLUDE, GAME)
        self.quiet()
        for _ in range(9):
            self.machine.events.append(SessionEstablished(BOB))
        self.machine.events.append(SessionEstablished(b"x" * 32))
        self.forwarder.flush()
        self.assertEqual(self.told(), {BOB: [{GAME}] * 4})
        self.assertEqual(len(self.events), 10)

    def test_path(self) -> None:
        """A member that has a path again is told what it may have missed, unless a session begins before that; once."""
        self.system(TO_EXCLUDE, GAME)
        self.quiet()
        for key in (BOB, CAROL):
            self.forwarder.setLive(key, False)
        self.system(TO_EXCLUDE, OTHER)
        self.quiet()
        self.forwarder.setLive(BOB, True)
        self.forwarder.setLive(CAROL, True)
        self.clock.advance(1)
        self.forwarder.setLive(BOB, True)
        self.assertEqual(self.told(), {})
        self.machine.events.append(SessionEstablished(CAROL))
        self.forwarder.flush()
        self.assertEqual(self.told(), {CAROL: [{GAME, OTHER}]})
        self.clock.advance(2)
        self.assertEqual(self.told(), {BOB: [{GAME, OTHER}]})
        self.clock.advance(99)
        self.assertEqual(self.told(), {})

    def test_pathGone(self) -> None:
        """Each path has its own time; who has none any more, or is no member, is not told, and nothing is left behind."""
        self.system(TO_EXCLUDE, GAME)
        self.quiet()
        for key, isMember in ((BOB, True), (CAROL, False)):
            self.forwarder.setLive(key, False)
            self.forwarder.setLive(key, True)
            self.clock.advance(2)
            if isMember:
                self.forwarder.setLive(key, False)
                self.forwarder.setLive(key, True)
                self.clock.advance(2)
            else:
                self.forwarder.removeMember(key)
        self.assertEqual(self.told(), {BOB: [{GAME}]})
        self.forwarder.setLive(BOB, False)
        self.forwarder.setLive(BOB, True)
        self.forwarder.setLive(BOB, False)
        self.clock.advance(9)
        self.assertEqual((self.told(), self.clock.getDelayedCalls()), ({}, []))
        self.forwarder.setLive(BOB, True)
        self.forwarder.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """A program that joins and leaves all the time has members told no more than twenty times at once, and then how it is."""
        for number in range(100):
            self.system(TO_EXCLUDE if number % 2 else TO_INCLUDE, GAME)
        self.assertEqual(len(self.told()[BOB]), 20)
        self.clock.pump([0.25] * 160)
        again = self.told()[BOB]
        self.assertLessEqual(len(again), 5)
        self.assertEqual(again[-1], {GAME})

    def test_tooMany(self) -> None:
        """So many groups as are told fit into a packet that needs no fragments on any path."""
        self.system(TO_EXCLUDE, *(b"\xef\x07\x07" + bytes((number,)) for number in range(200)))
        for start in (0, 40):
            self.system(
                TO_EXCLUDE,
                *(b"\xff\x15" + bytes(13) + bytes((number,)) for number in range(start, start + 40)),
            )
        sizes = {len(packet) for _, packets in self.machine.sent for packet in packets}
        self.assertEqual(sizes - {56 + 40 * 20}, {32 + 129 * 8, 56 + 51 * 20})
        smallest = Limit.of(SMALLEST, 1400)
        assert smallest is not None
        self.assertLessEqual(max(sizes), smallest.fits)

    def test_asked(self) -> None:
        """Our operating system is asked soon and then slowly, by nobody's address; nobody else is."""
        self.forwarder.configure("100.64.0.1", "100.64.0.0/10", "fd00::1", "fd00::/48")
        self.clock.advance(1)
        queries = [
            bytes.fromhex("01005e000001") + OWN_MAC + IPV4 + encodeIgmpQuery(bytes(4), 1),
            bytes.fromhex("333300000001")
            + OWN_MAC
            + IPV6
            + encodeMldQuery(ip_address("fe80::76").packed, 100),
        ]
        self.assertEqual(self.device.take(), queries)
        self.clock.pump([25] * 5)
        self.assertEqual(self.device.take(), queries)
        self.assertEqual(self.machine.sent, [])
        self.forwarder.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SparingTests(SnoopingCase):
    """
    What members get.
    """

    def test_groups(self) -> None:
        """A group's packets go to who has reported it, and to who has reported nothing."""
        self.bobListens(GAME)
        self.assertEqual([self.reached(four(each)) for each in (GAME, OTHER)], [[BOB, CAROL], [CAROL]])
        self.assertEqual(self.reached(six(GAME6)), [BOB, CAROL])
        self.fromBob(encodeMldReport(B6, records(IS_EXCLUDE, OTHER6)))
        self.assertEqual([self.reached(six(each)) for each in (GAME6, OTHER6)], [[CAROL], [BOB, CAROL]])
        counters = self.forwarder.counters
        self.assertEqual(
            (counters["groupReports"], counters["groupSpared"], counters["listeners"]), (2, 2, 0)
        )

    def test_joinAndLeave(self) -> None:
        """A report holds at once, and takes the place of the one before."""
        self.bobListens()
        self.assertEqual(self.reached(four(GAME)), [CAROL])
        self.bobListens(GAME, OTHER)
        self.assertEqual(self.reached(four(GAME)), [BOB, CAROL])
        self.bobListens(OTHER)
        self.assertEqual(self.reached(four(GAME)), [CAROL])

    def test_forAll(self) -> None:
        """mDNS, SSDP and broadcasts go to all, whatever they listen to."""
        self.bobListens()
        self.fromBob(encodeMldReport(B6, []))
        for group in (EVERYBODY, MDNS, SSDP, bytes((224, 0, 0, 252)), ip_address("100.127.255.255").packed):
            self.assertEqual(self.reached(four(group)), [BOB, CAROL])
        for group in (ip_address("ff02::fb").packed, ip_address("ff02::1:3").packed, SSDP6):
            self.assertEqual(self.reached(six(group)), [BOB, CAROL])

    def test_batch(self) -> None:
        """Of several packets at once each member gets its own, in order."""
        self.bobListens(GAME)
        packets = [four(each) for each in (GAME, OTHER, MDNS, GAME)]
        self.device.deliver([frame4(each, b"\x01" + bytes(5)) for each in packets])
        wanted = [packets[0], packets[2], packets[3]]
        self.assertEqual(self.machine.sent, [(BOB, tuple(wanted)), (CAROL, tuple(packets))])

    def test_session(self) -> None:
        """After a new session what was reported before counts no longer, if it is not reported again."""
        self.bobListens()
        self.clock.advance(60)
        self.machine.events.append(SessionEstablished(BOB))
        self.forwarder.flush()
        self.clock.advance(6)
        self.assertEqual(self.reached(four(GAME)), [BOB, CAROL])

    def test_path(self) -> None:
        """The same when there is a path again where there was none: reports of the time between are lost."""
        self.bobListens()
        self.clock.advance(60)
        self.forwarder.setLive(BOB, True)
        self.clock.advance(6)
        self.assertEqual(self.reached(four(GAME)), [CAROL])
        self.forwarder.setLive(BOB, False)
        self.forwarder.setLive(BOB, True)
        self.clock.advance(6)
        self.assertEqual(sorted(self.reached(four(GAME))), [BOB, CAROL])

    def test_gone(self) -> None:
        """Who was removed and comes back gets everything."""
        self.bobListens()
        self.forwarder.removeMember(BOB)
        self.forwarder.addMember(BOB, "100.64.0.2", "fd00::2")
        self.forwarder.setLive(BOB, True)
        self.assertEqual(sorted(self.reached(four(GAME))), [BOB, CAROL])

    def test_notFromMembers(self) -> None:
        """
        What a member cannot say changes nothing, for itself or for others: queries, reports of changes, of older versions, about
        sources, to other addresses, garbage.  Nothing of it reaches our operating system.
        """
        self.bobListens(GAME)
        report = encodeIgmpReport(B4, records(IS_EXCLUDE, OTHER))
        for packet in (
            encodeIgmpQuery(B4, 1),
            encodeMldQuery(B6, 1),
            encodeIgmpReport(B4, records(TO_INCLUDE, GAME)),
            encodeIgmpReport(B4, records(TO_EXCLUDE, OTHER)),
            encodeIgmpReport(B4, records(1, GAME)),
            igmp(0x17, GAME),
            igmp(0x16, OTHER),
            report[:26] + b"xx" + report[28:],
            encodeIp4(B4, REPORTS, 2, b"\x22"),
            encodeIp4(B4, GAME, 2, report[24:]),
            encodeIp4(B4, A4, 2, report[24:]),
        ):
            self.assertEqual(self.fromBob(packet), [])
            self.assertEqual([self.reached(four(each)) for each in (GAME, OTHER)], [[BOB, CAROL], [CAROL]])
        self.assertEqual(self.forwarder.counters["listeners"], 11)

    def test_flood(self) -> None:
        """A member that reports without end is read forty times at once and ten times a second."""
        for _ in range(100):
            self.bobListens(GAME)
        self.assertEqual(self.forwarder.counters["groupReports"], 40)
        self.clock.advance(1)
        for _ in range(100):
            self.bobListens(GAME)
        self.assertEqual(self.forwarder.counters["groupReports"], 50)

"""
A TURN server's allocations, in the words of RFC 8656.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    ADDRESS_ERROR_CODE,
    CHANGE_REQUEST,
    CHANNEL_NUMBER,
    DATA,
    DONT_FRAGMENT,
    EVEN_PORT,
    FINGERPRINT,
    LIFETIME,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    NONCE,
    PASSWORD_ALGORITHMS,
    PRIORITY,
    REALM,
    REQUESTED_ADDRESS_FAMILY,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    SOFTWARE,
    UNKNOWN_ATTRIBUTES,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    AddressErrorCode,
    ChangeRequest,
)
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CREATE_PERMISSION,
    DATA_INDICATION,
    REFRESH,
    SEND,
    UDP,
)
from vnet.protocols.machine.bandwidth import Bandwidth
from vnet.protocols.machine.peerpolicy import PeerPolicy
from vnet.protocols.machine.relayingevents import Allocated, Ended
from vnet.protocols.machine.relaysettings import RelayLimits, RelaySettings, Service
from vnet.protocols.machine.turnsigner import RelayCredentials
from vnet.test.forbiddenpeers import FORBIDDEN_PEERS
from vnet.test.relaycallers import HOSTS, Caller, Relay, codeOf, raw
from vnet.values import Address

PEER, PEER2, PEER6 = Address("8.1.1.1", 5000), Address("8.1.1.2", 5000), Address("2600::1", 5000)
ONE, TWO = 0x4000, 0x4001
V4, V6 = REQUESTED_ADDRESS_FAMILY(4), REQUESTED_ADDRESS_FAMILY(6)
BOTH = ADDITIONAL_ADDRESS_FAMILY(6)
FEW_PORTS = range(50000, 50004)


def relayOf(**values: Any) -> Relay:
    """
    A relay with other settings.
    """
    return Relay(RelaySettings("relay.example", values.pop("hosts", HOSTS), **values))


class RelayCase(SynchronousTestCase):
    """
    A relay.
    """

    def setUp(self) -> None:
        self.relay = Relay()


class AllocateTests(RelayCase):
    """
    Section 7.2.
    """

    def test_obtained(self) -> None:
        """An allocation has an address of this host, ten minutes, and tells the client where it is seen."""
        caller = self.relay.caller()
        answer = caller.allocate()
        [relayed] = answer.getAll(XOR_RELAYED_ADDRESS)
        self.assertEqual(relayed.host, HOSTS[4])
        self.assertTrue(49152 <= relayed.port <= 65535)
        self.assertEqual(answer.get(LIFETIME), 600)
        self.assertEqual(answer.get(XOR_MAPPED_ADDRESS), caller.address._replace(via=""))
        self.assertNotIn(RESERVATION_TOKEN, answer)
        self.assertEqual(self.relay.bound, {relayed})
        [event] = self.relay.events()
        self.assertIsInstance(event, Allocated)
        self.assertIs(self.relay.machine.servedAt(relayed), self.relay.machine.clients[caller.address])

    def test_challenge(self) -> None:
        """Who does not say who he is is told realm, nonce and algorithms; nothing is kept of him."""
        caller = self.relay.caller()
        [data] = self.relay.exchange(caller.signer.request(ALLOCATE, b"t" * 12, ()), caller.address)
        answer = decode(data)
        self.assertEqual(codeOf(answer), 401)
        self.assertTrue(answer.get(REALM) and answer.get(NONCE) and answer.get(PASSWORD_ALGORITHMS))
        for kind in (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, SOFTWARE, USERNAME):
            self.assertNotIn(kind, answer)
        self.assertEqual((len(self.relay.machine.clients), self.relay.machine.users), (0, 0))

    def test_small(self) -> None:
        """With all headers, the answer to who does not say who he is is at most two and a half times the question."""
        question = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))
        [answer] = self.relay.exchange(question, Address("192.0.2.7", 1, "udp1"))
        self.assertLessEqual(len(answer) + 28, 2.5 * (len(question) + 28))

    def test_wrongPassword(self) -> None:
        """Who does not know the password gets nothing but another challenge."""
        good = self.relay.caller()
        caller = Caller(self.relay, good.address, RelayCredentials(good.credentials.username, "wrong"))
        self.assertEqual((caller.tryAllocate(), self.relay.machine.clients), (401, {}))
        self.assertEqual(
            (good.tryAllocate(), caller.tryAllocate(), caller.refresh(LIFETIME(0))), (0, 401, 401)
        )
        self.assertEqual(len(self.relay.machine.clients), 1)

    def test_transport(self) -> None:
        """Without transport, or with a malformed one, a request is a bad one; no other than UDP is supported."""
        caller = self.relay.caller()
        self.assertEqual(caller.code(ALLOCATE), 400)
        for value in (b"", b"\x11", b"\x11\0\0", b"\x11\0\0\0\0"):
            self.assertEqual(caller.code(ALLOCATE, raw(REQUESTED_TRANSPORT.code, value)), 400)
        for number in (0, 1, 6, 132, 255):
            self.assertEqual(caller.code(ALLOCATE, REQUESTED_TRANSPORT(number)), 442)
        self.assertEqual(caller.code(ALLOCATE, raw(REQUESTED_TRANSPORT.code, b"\x11\xff\xff\xff")), 0)

    def test_again(self) -> None:
        """A client that has an allocation gets no second one."""
        caller = self.relay.allocated()
        self.assertEqual(caller.tryAllocate(), 437)
        self.assertEqual(len(self.relay.bound), 1)

    def test_retransmitted(self) -> None:
        """A request that comes again is answered as before, but for the time that has passed; nothing else happens."""
        caller = self.relay.caller()
        data = caller.request(ALLOCATE, REQUESTED_TRANSPORT(UDP), EVEN_PORT(True))
        first = caller.send(data)
        self.assertEqual(caller.send(data), first)
        self.relay.sleep(20)
        later = caller.send(data)
        for kind in (XOR_RELAYED_ADDRESS, XOR_MAPPED_ADDRESS, RESERVATION_TOKEN):
            self.assertEqual(later.get(kind), first.get(kind))
        self.assertEqual(later.get(LIFETIME), 580)
        self.assertEqual((len(self.relay.events()), len(self.relay.bound)), (1, 2))

    def test_lateCopy(self) -> None:
        """
        A copy that comes when the allocation of its request has ended, or when the one has that was in the way, makes none; of
        so many requests this is known.
        """
        caller = self.relay.caller()
        data = caller.request(ALLOCATE, REQUESTED_TRANSPORT(UDP))
        caller.send(data)
        caller.refresh(LIFETIME(0))
        self.assertEqual((codeOf(caller.send(data)), self.relay.bound), (437, set()))
        caller.allocate()
        second = caller.request(ALLOCATE, REQUESTED_TRANSPORT(UDP))
        self.assertEqual(codeOf(caller.send(second)), 437)
        caller.refresh(LIFETIME(0))
        self.assertEqual((codeOf(caller.send(second)), self.relay.bound), (437, set()))
        for _ in range(1100):
            caller.allocate()
            caller.refresh(LIFETIME(0))
        self.assertEqual(len(self.relay.machine._allocations._over), 1024)

    def test_otherUserSameId(self) -> None:
        """A request with the same id of another user is none that comes again."""
        alice = self.relay.caller()
        bob = self.relay.caller(user="high-bob", address=alice.address)
        for caller in (alice, bob):
            caller.challenge()
        self.assertEqual(
            codeOf(alice.send(alice.signer.request(ALLOCATE, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))), 0
        )
        self.assertEqual(
            codeOf(bob.send(bob.signer.request(ALLOCATE, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))), 437
        )

    def test_unknown(self) -> None:
        """What must be understood and is not is named; what need not be is passed over."""
        caller = self.relay.caller()
        answer = caller.ask(
            ALLOCATE, REQUESTED_TRANSPORT(UDP), raw(0x7FFE, b"x"), raw(0xFFFE, b"y"), raw(0x1234, b"")
        )
        self.assertEqual((codeOf(answer), answer.get(UNKNOWN_ATTRIBUTES)), (420, (0x7FFE, 0x1234)))
        ice = (PRIORITY(1), CHANGE_REQUEST(ChangeRequest()))
        answer = caller.ask(ALLOCATE, REQUESTED_TRANSPORT(UDP), *ice)
        self.assertEqual(answer.get(UNKNOWN_ATTRIBUTES), (PRIORITY.code, CHANGE_REQUEST.code))
        self.assertEqual(caller.tryAllocate(raw(0xFFFE, b"y"), SOFTWARE("x")), 0)

    def test_unknownFirst(self) -> None:
        """What must be understood comes before what is malformed, and after who it is."""
        caller = self.relay.caller()
        self.assertEqual(caller.code(REFRESH, raw(0x7FFE, b""), raw(LIFETIME.code, b"")), 420)
        message = Message(ALLOCATE, Class.REQUEST, b"t" * 12, (raw(0x7FFE, b""),))
        [answer] = self.relay.exchange(encode(message), caller.address)
        self.assertEqual(codeOf(decode(answer)), 401)

    def test_malformed(self) -> None:
        """An attribute that is known and malformed makes a bad request, whichever it is."""
        caller = self.relay.caller()
        for kind, value in (
            (LIFETIME, b"\0\0\x02"),
            (EVEN_PORT, b"\x80\0"),
            (RESERVATION_TOKEN, b"1234567"),
            (REQUESTED_ADDRESS_FAMILY, b"\1"),
            (ADDITIONAL_ADDRESS_FAMILY, b"\2\0"),
            (DONT_FRAGMENT, b"x"),
            (XOR_PEER_ADDRESS, b"\0\3" + bytes(6)),
            (SOFTWARE, b"x" * 800),
        ):
            self.assertEqual(caller.tryAllocate(raw(kind.code, value)), 400, kind)
        self.assertEqual(self.relay.bound, set())

    def test_dontFragment(self) -> None:
        """Datagrams can be sent whole, which a client asks for with this attribute."""
        self.assertEqual(self.relay.caller().tryAllocate(DONT_FRAGMENT(True)), 0)

    def test_lifetime(self) -> None:
        """An allocation lives for ten minutes at least and an hour at most."""
        for asked, given in (
            (0, 600),
            (1, 600),
            (600, 600),
            (601, 601),
            (3600, 3600),
            (3601, 3600),
            (2**32 - 1, 3600),
        ):
            answer = self.relay.caller(user=f"high-{asked}").allocate(LIFETIME(asked))
            self.assertEqual(answer.get(LIFETIME), given)

    def test_families(self) -> None:
        """A client gets an address of the family that it asks for, IPv4 if it asks for none."""
        for asked, host in (((), HOSTS[4]), ((V4,), HOSTS[4]), ((V6,), HOSTS[6])):
            self.assertEqual(self.relay.allocated(*asked).relayed[0].host, host)

    def test_unsupportedFamily(self) -> None:
        """A family that the relay has not, or that nobody knows, is not supported."""
        unknown = raw(REQUESTED_ADDRESS_FAMILY.code, b"\3\0\0\0")
        self.assertEqual(self.relay.caller().tryAllocate(unknown), 440)
        only4, only6 = relayOf(hosts={4: HOSTS[4]}), relayOf(hosts={6: HOSTS[6]})
        self.assertEqual(only4.caller().tryAllocate(V6), 440)
        for asked in ((), (V4,), (EVEN_PORT(True),)):
            self.assertEqual(only6.caller().tryAllocate(*asked), 440)
        self.assertEqual(only6.caller().tryAllocate(V6), 0)

    def test_dual(self) -> None:
        """A client may have an address of each family."""
        answer = self.relay.caller().allocate(BOTH)
        self.assertEqual([each.host for each in answer.getAll(XOR_RELAYED_ADDRESS)], [HOSTS[4], HOSTS[6]])
        self.assertNotIn(ADDRESS_ERROR_CODE, answer)
        self.assertEqual(len(self.relay.events()), 1)

    def test_halfDual(self) -> None:
        """Who gets one of two addresses is told why there is no other: the family, or no port."""
        for relay, host, family, code in (
            (relayOf(hosts={4: HOSTS[4]}), HOSTS[4], 6, 440),
            (relayOf(hosts={6: HOSTS[6]}), HOSTS[6], 4, 440),
            (relayOf(ports=FEW_PORTS), HOSTS[6], 4, 508),
            (relayOf(ports=FEW_PORTS), HOSTS[4], 6, 508),
        ):
            if code == 508:
                relay.foreign = {(family, port) for port in FEW_PORTS}
            caller = relay.caller()
            data = caller.request(ALLOCATE, REQUESTED_TRANSPORT(UDP), BOTH)
            answer = caller.send(data)
            self.assertEqual([each.host for each in answer.getAll(XOR_RELAYED_ADDRESS)], [host])
            self.assertEqual(answer.get(ADDRESS_ERROR_CODE), AddressErrorCode(family, code))
            self.assertEqual(caller.send(data), answer)

    def test_noDual(self) -> None:
        """Where there is neither of two, there is no allocation."""
        relay = relayOf(ports=FEW_PORTS)
        relay.foreign = {(family, port) for port in FEW_PORTS for family in (4, 6)}
        self.assertEqual(relay.caller().tryAllocate(BOTH), 508)
        self.assertEqual((relay.machine.clients, relay.machine.users, relay.events()), ({}, 0, []))

    def test_contradictions(self) -> None:
        """Requests that contradict themselves are bad ones."""
        token = RESERVATION_TOKEN(b"12345678")
        for asked in (
            (V4, BOTH),
            (raw(REQUESTED_ADDRESS_FAMILY.code, b"\3\0\0\0"), BOTH),
            (ADDITIONAL_ADDRESS_FAMILY(4),),
            (raw(ADDITIONAL_ADDRESS_FAMILY.code, b"\3\0\0\0"),),
            (EVEN_PORT(True), BOTH),
            (token, EVEN_PORT(False)),
            (token, EVEN_PORT(True)),
            (token, V4),
            (token, BOTH),
        ):
            self.assertEqual(self.relay.caller().tryAllocate(*asked), 400, asked)

    def test_even(self) -> None:
        """Who asks for an even port gets one, in each family."""
        for asked in ((), (V6,), (BOTH,)):
            for _ in range(8):
                caller = self.relay.allocated(EVEN_PORT(False), *asked)
                self.assertEqual([each.port % 2 for each in caller.relayed], [0] * len(caller.relayed))

    def test_reservation(self) -> None:
        """The port after an even one is kept for who has the token, over whatever way he comes."""
        answer = self.relay.caller().allocate(EVEN_PORT(True))
        relayed, token = answer.get(XOR_RELAYED_ADDRESS), answer.get(RESERVATION_TOKEN)
        assert relayed is not None and token is not None
        self.assertEqual(relayed.port % 2, 0)
        other = self.relay.caller(user="low-bob", address=Address("2600::7", 9, "tls3"))
        second = other.allocate(RESERVATION_TOKEN(token))
        self.assertEqual(second.getAll(XOR_RELAYED_ADDRESS), (relayed._replace(port=relayed.port + 1),))
        self.assertNotIn(RESERVATION_TOKEN, second)
        self.assertEqual(self.relay.caller().tryAllocate(RESERVATION_TOKEN(token)), 508)

    def test_reservationEnds(self) -> None:
        """A token is good for 30 seconds; then its port is free."""
        token = self.relay.caller().allocate(EVEN_PORT(True)).get(RESERVATION_TOKEN)
        assert token is not None
        self.relay.sleep(31)
        self.assertEqual(self.relay.caller().tryAllocate(RESERVATION_TOKEN(token)), 508)
        self.assertEqual(self.relay.caller().tryAllocate(RESERVATION_TOKEN(b"87654321")), 508)
        self.assertEqual(len(self.relay.bound), 1)

    def test_tokenIsKept(self) -> None:
        """A request that is refused for another reason does not use its token up."""
        relay = relayOf(limits=RelayLimits(perUser=1))
        token = relay.caller().allocate(EVEN_PORT(True)).get(RESERVATION_TOKEN)
        assert token is not None
        self.assertEqual(relay.caller().tryAllocate(RESERVATION_TOKEN(token)), 486)
        self.assertEqual(relay.caller(user="high-bob").tryAllocate(RESERVATION_TOKEN(token)), 0)

    def test_noPair(self) -> None:
        """Where no port or no pair is free, the capacity does not suffice."""
        relay = relayOf(ports=range(50000, 50002))
        relay.allocated()
        self.assertEqual(relay.caller().tryAllocate(EVEN_PORT(True)), 508)
        relay.allocated()
        self.assertEqual(relay.caller().tryAllocate(), 508)
        self.assertEqual(relay.caller().tryAllocate(V6), 0)

    def test_userQuota(self) -> None:
        """One user has so many allocations, whatever credentials he has; another has his own."""
        relay = relayOf(limits=RelayLimits(perUser=2))
        callers = [relay.allocated(expiry=relay.wall + 100 + n) for n in range(2)]
        self.assertEqual(relay.caller(expiry=relay.wall + 500).tryAllocate(), 486)
        self.assertEqual(relay.caller(user="high-bob").tryAllocate(), 0)
        self.assertEqual(relay.machine.users, 2)
        callers[0].refresh(LIFETIME(0))
        self.assertEqual(relay.caller(expiry=relay.wall + 500).tryAllocate(), 0)
        self.assertEqual(relay.caller().tryAllocate(), 486)

    def test_total(self) -> None:
        """There are so many allocations in all."""
        relay = relayOf(limits=RelayLimits(total=2))
        first = relay.allocated(user="high-a")
        relay.allocated(user="high-b")
        self.assertEqual(relay.caller(user="high-c").tryAllocate(), 508)
        first.refresh(LIFETIME(0))
        self.assertEqual(relay.caller(user="high-c").tryAllocate(), 0)

    def test_tunnelled(self) -> None:
        """A client that comes through Teredo or 6to4 is refused (section 21.4)."""
        for host in ("2001::1", "2001:0:ffff::1", "2002:808:808::1"):
            self.assertEqual(self.relay.caller(address=Address(host, 5, "udp1")).tryAllocate(), 403)
        self.assertEqual(self.relay.caller(address=Address("2001:4860::1", 5, "udp1")).tryAllocate(), 0)

    def test_external(self) -> None:
        """Behind a NAT the client is told the address that peers see."""
        relay = relayOf(external={HOSTS[4]: "8.0.0.1"})
        caller = relay.allocated()
        self.assertEqual(caller.relayed[0].host, "8.0.0.1")
        self.assertEqual({each.host for each in relay.bound}, {HOSTS[4]})
        self.assertIsNotNone(relay.machine.servedAt(caller.relayed[0]))

    def test_fingerprint(self) -> None:
        """A request with a fingerprint gets an answer with one; with a wrong one it gets none."""
        caller = self.relay.caller()
        message = Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),))
        data = encode(message, fingerprint=True)
        self.assertIn(FINGERPRINT, decode(self.relay.exchange(data, caller.address)[0]))
        self.assertEqual(self.relay.exchange(data[:-1] + bytes([data[-1] ^ 1]), caller.address), [])
        self.assertNotIn(FINGERPRINT, decode(self.relay.exchange(encode(message), caller.address)[0]))


class RateTests(RelayCase):
    """
    What strangers get, and what is remembered of them.
    """

    def answers(self, data: bytes, hosts: list[str], via: str = "udp1") -> int:
        return sum(len(self.relay.exchange(data, Address(host, n, via))) for n, host in enumerate(hosts))

    def test_challenges(self) -> None:
        """A source that does not say who it is gets ten answers a second; an IPv6 source is its /64."""
        data = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))
        self.assertEqual(self.answers(data, ["8.1.1.1"] * 100), 10)
        self.assertEqual(self.answers(data, ["8.1.1.2"] * 10), 10)
        self.assertEqual(self.answers(data, [f"2600:0:0:1::{n:x}" for n in range(100)]), 10)
        self.assertEqual(self.answers(data, ["2600:0:0:2::1"]), 1)
        self.relay.sleep(1.0)
        self.assertEqual(self.answers(data, ["8.1.1.1"] * 100), 10)

    def test_connections(self) -> None:
        """Each connection is a source of its own: many may come from behind one NAT at once, and nothing there is asked again."""
        data = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))
        self.assertEqual([self.answers(data, ["8.1.1.1"], f"tcp{n}") for n in range(50)], [1] * 50)
        self.assertEqual(self.answers(data, ["8.1.1.1"] * 100, "tls7"), 10)
        self.assertEqual(self.answers(data, ["8.1.1.1"] * 100), 10)

    def test_ten(self) -> None:
        """Over ten seconds, one source gets a hundred and ten answers at most, however it spreads its requests."""
        data = encode(Message(REFRESH, Class.REQUEST, b"t" * 12))
        count = 0
        for _ in range(1000):
            count += self.answers(data, ["8.1.1.1"])
            self.relay.sleep(0.01)
        self.assertTrue(95 <= count <= 110, count)

    def test_methods(self) -> None:
        """All methods share these ten, and bad requests too."""
        caller = self.relay.caller()
        caller.challenge()
        message = decode(caller.request(ALLOCATE))
        kept = tuple(each for each in message.attributes if each.kind in (USERNAME, REALM))
        bad = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, kept), b"key")
        host = caller.address.host
        count = 0
        for method in (ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND):
            count += self.answers(encode(Message(method, Class.REQUEST, b"t" * 12)), [host] * 2)
        self.assertEqual((count, self.answers(bad, [host] * 100)), (8, 1))

    def test_staleNonces(self) -> None:
        """Who has a password but no nonce of ours may not be where he says: he gets no more answers than others."""
        caller = self.relay.caller()
        caller.challenge()
        caller.signer._nonce = "stale"
        data = [
            caller.signer.request(ALLOCATE, bytes([n] * 12), (REQUESTED_TRANSPORT(UDP),)) for n in range(50)
        ]
        answers = [answer for each in data for answer in self.relay.exchange(each, caller.address)]
        self.assertEqual({codeOf(decode(answer)) for answer in answers}, {438})
        self.assertEqual(len(answers), 9)

    def test_knownAreServed(self) -> None:
        """Who has an allocation is answered however much is asked in his name, also with a nonce that has become stale."""
        caller = self.relay.allocated()
        data = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12))
        self.answers(data, [caller.address.host] * 100)
        for _ in range(50):
            self.assertEqual(caller.refresh(), 0)
        caller.signer._nonce = "stale"
        self.assertEqual(caller.refresh(), 438)

    def test_inTheirName(self) -> None:
        """Who says nothing of himself gets ten answers a second at the address of an allocation, too."""
        caller = self.relay.allocated()
        data = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12))
        self.relay.sleep(1)
        self.assertEqual(sum(len(self.relay.exchange(data, caller.address)) for _ in range(100)), 10)

    def test_bindings(self) -> None:
        """A source gets a hundred answers a second to Binding requests."""
        self.assertEqual(
            self.answers(encode(Message(BINDING, Class.REQUEST, b"t" * 12)), ["8.1.1.1"] * 300), 100
        )

    def test_memory(self) -> None:
        """However many sources there are, a bounded number is remembered, and nothing but a count of each."""
        allocate = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))
        binding = encode(Message(BINDING, Class.REQUEST, b"t" * 12))
        caller = self.relay.allocated()
        signed = caller.request(ALLOCATE, REQUESTED_TRANSPORT(UDP))
        machine = self.relay.machine
        for n in range(4_500):
            for host in (f"9.0.{n >> 8 & 255}.{n & 255}", f"2600:0:0:{n:x}::1"):
                for data in (allocate, binding, signed):
                    machine.receive(data, Address(host, 9, "udp1"), self.relay.now)
            machine.datagramsToSend(self.relay.now)
        self.assertEqual((len(machine.clients), machine.users, len(self.relay.bound)), (1, 1, 1))
        self.assertEqual((len(machine._challenges), len(machine._bindings)), (8192, 8192))
        self.assertEqual((machine._outbox, self.relay.events()), ([], []))
        self.assertLess(len(machine.counters), 20)
        self.assertEqual(caller.refresh(), 0)


class RefreshTests(RelayCase):
    """
    Section 8.2, and section 5.
    """

    def test_refresh(self) -> None:
        """An allocation lives on for what the client asks, within the same limits."""
        caller = self.relay.allocated()
        for asked, given in (
            ((), 600),
            ((LIFETIME(1),), 600),
            ((LIFETIME(900),), 900),
            ((LIFETIME(9000),), 3600),
        ):
            self.assertEqual(caller.ask(REFRESH, *asked).get(LIFETIME), given)

    def test_end(self) -> None:
        """An allocation that is not refreshed ends on time, and gives its port back."""
        caller = self.relay.allocated()
        self.relay.sleep(599)
        self.assertEqual(caller.refresh(), 0)
        self.relay.sleep(599)
        self.assertEqual(self.relay.events(), [])
        self.relay.sleep(2)
        [event] = self.relay.events()
        self.assertIsInstance(event, Ended)
        self.assertEqual(
            (self.relay.bound, self.relay.machine.clients, self.relay.machine.users), (set(), {}, 0)
        )
        self.assertIsNone(self.relay.machine.servedAt(caller.relayed[0]))
        self.assertEqual(self.relay.machine.deadline(), None)

    def test_shortened(self) -> None:
        """A refresh may make the rest of its life shorter."""
        self.relay.allocated(LIFETIME(3600)).refresh()
        self.relay.sleep(599)
        self.assertEqual(len(self.relay.machine.clients), 1)
        self.relay.sleep(2)
        self.assertEqual(len(self.relay.machine.clients), 0)

    def test_delete(self) -> None:
        """A lifetime of 0 ends it at once; another one can follow."""
        caller = self.relay.allocated()
        answer = caller.ask(REFRESH, LIFETIME(0))
        self.assertEqual((codeOf(answer), answer.get(LIFETIME)), (0, 0))
        self.assertEqual([type(each) for each in self.relay.events()], [Ended])
        self.assertEqual((self.relay.bound, caller.refresh(LIFETIME(0))), (set(), 437))
        self.assertEqual(caller.tryAllocate(), 0)

    def test_noAllocation(self) -> None:
        """Without an allocation there is nothing to refresh, to permit or to bind."""
        caller = self.relay.caller()
        self.assertEqual((caller.refresh(), caller.permit(PEER), caller.bind(ONE, PEER)), (437, 437, 437))

    def test_otherUser(self) -> None:
        """Only who made it may change it (section 21.3.3)."""
        alice = self.relay.allocated()
        bob = self.relay.caller(user="high-bob", address=alice.address)
        later = self.relay.caller(address=alice.address, expiry=self.relay.wall + 9000)
        for caller in (bob, later):
            codes = caller.refresh(LIFETIME(0)), caller.permit(PEER), caller.bind(ONE, PEER)
            self.assertEqual(codes, (441, 441, 441))
            self.assertEqual(caller.tryAllocate(), 437)
        self.assertEqual(alice.refresh(), 0)

    def test_otherAddress(self) -> None:
        """An allocation belongs to one address, one port and one way of the client."""
        alice = self.relay.allocated()
        for values in ({"port": 9}, {"host": "8.9.9.9"}, {"via": "tcp7"}):
            caller = self.relay.caller(address=alice.address._replace(**values))
            self.assertEqual(caller.refresh(LIFETIME(0)), 437)
        self.assertEqual(len(self.relay.machine.clients), 1)

    def test_unsigned(self) -> None:
        """A request that is not signed changes nothing (section 21.1.3)."""
        caller = self.relay.allocated()
        for method in (REFRESH, CREATE_PERMISSION, CHANNEL_BIND):
            message = Message(method, Class.REQUEST, b"u" * 12, (LIFETIME(0), XOR_PEER_ADDRESS(PEER)))
            [answer] = self.relay.exchange(encode(message), caller.address)
            self.assertEqual(codeOf(decode(answer)), 401)
        served = self.relay.machine.clients[caller.address]
        self.assertEqual(served.permissions, {})

    def test_family(self) -> None:
        """A family that the allocation has not is a mismatch."""
        four, six, both = self.relay.allocated(), self.relay.allocated(V6), self.relay.allocated(BOTH)
        unknown = raw(REQUESTED_ADDRESS_FAMILY.code, b"\3\0\0\0")
        self.assertEqual((four.refresh(V4), four.refresh(V6), four.refresh(unknown)), (0, 443, 443))
        self.assertEqual((six.refresh(V4), six.refresh(V6)), (443, 0))
        self.assertEqual((both.refresh(V4), both.refresh(V6)), (0, 0))
        self.assertEqual(four.refresh(V6, LIFETIME(0)), 443)
        self.assertEqual(len(self.relay.machine.clients), 3)

    def test_oneSide(self) -> None:
        """Each side of a dual allocation can be refreshed for itself, and ends for itself."""
        caller = self.relay.allocated(BOTH)
        caller.bind(ONE, PEER)
        caller.bind(TWO, PEER6)
        self.relay.sleep(500)
        self.assertEqual(caller.refresh(V6), 0)
        self.relay.sleep(101)
        served = self.relay.machine.clients[caller.address]
        self.assertEqual((list(served.sides), list(served.channels)), ([6], [TWO]))
        self.assertEqual({each.host for each in self.relay.bound}, {HOSTS[6]})
        self.assertEqual((self.relay.events(), caller.refresh(V4), caller.bind(ONE, PEER)), ([], 443, 443))
        self.assertEqual(caller.refresh(V6, LIFETIME(0)), 0)
        self.assertEqual([type(each) for each in self.relay.events()], [Ended])
        self.assertEqual(self.relay.machine.clients, {})

    def test_endBothSides(self) -> None:
        """Without a family both sides end at once."""
        caller = self.relay.allocated(BOTH)
        self.assertEqual(caller.refresh(LIFETIME(0)), 0)
        self.assertEqual((self.relay.bound, len(self.relay.events())), (set(), 1))

    def test_malformed(self) -> None:
        """A malformed lifetime ends nothing."""
        caller = self.relay.allocated()
        self.assertEqual(caller.refresh(raw(LIFETIME.code, b"\0\0\0")), 400)
        self.assertEqual(len(self.relay.machine.clients), 1)

    def test_staleNonce(self) -> None:
        """After half an hour the nonce is stale; with the one that is told then, the allocation lives on."""
        caller = self.relay.allocated(LIFETIME(3600))
        self.relay.sleep(1801)
        answer = caller.ask(REFRESH)
        self.assertEqual(codeOf(answer), 438)
        self.assertTrue(caller.signer.challenge(answer))
        self.assertEqual(caller.refresh(), 0)

    def test_expiredCredentials(self) -> None:
        """An allocation can be kept after its credentials have expired, but no other one made with them."""
        caller = self.relay.allocated(expiry=self.relay.wall + 60)
        self.relay.sleep(300)
        self.assertEqual((caller.refresh(), caller.permit(PEER), caller.bind(ONE, PEER)), (0, 0, 0))
        other = Caller(self.relay, Address("8.9.9.9", 1, "udp1"), caller.credentials)
        self.assertEqual(other.tryAllocate(), 401)
        caller.refresh(LIFETIME(0))
        self.assertEqual(caller.tryAllocate(), 401)


class PermissionTests(RelayCase):
    """
    Sections 9 and 10.2.
    """

    def test_permit(self) -> None:
        """One request permits several hosts, for 300 seconds, whatever the ports are."""
        caller = self.relay.allocated(BOTH)
        self.assertEqual(caller.permit(PEER, PEER2._replace(port=0), PEER6, PEER), 0)
        served = self.relay.machine.clients[caller.address]
        self.relay.sleep(299)
        self.assertEqual(
            [served.permits(each.host, self.relay.now) for each in (PEER, PEER2, PEER6)], [True] * 3
        )
        self.assertEqual(caller.permit(PEER), 0)
        self.relay.sleep(2)
        self.assertEqual([served.permits(each.host, self.relay.now) for each in (PEER, PEER2)], [True, False])

    def test_bad(self) -> None:
        """Without a peer, or with one that is malformed, it is a bad request, and nobody is permitted."""
        caller = self.relay.allocated()
        self.assertEqual(caller.permit(), 400)
        good = XOR_PEER_ADDRESS(PEER)
        for value in (b"", b"\0\1\0\0", b"\0\1" + bytes(18), b"\0\2" + bytes(6), b"\0\7" + bytes(6)):
            for peers in ((raw(XOR_PEER_ADDRESS.code, value),), (good, raw(XOR_PEER_ADDRESS.code, value))):
                self.assertEqual(caller.code(CREATE_PERMISSION, *peers), 400)
        self.assertEqual(self.relay.machine.clients[caller.address].permissions, {})

    def test_family(self) -> None:
        """Peers are of a family that the allocation has."""
        self.assertEqual(self.relay.allocated().permit(PEER6), 443)
        self.assertEqual(self.relay.allocated(V6).permit(PEER), 443)
        self.assertEqual(self.relay.allocated().permit(PEER, PEER6), 443)
        mapped = XOR_PEER_ADDRESS(Address("::ffff:8.1.1.1", 5000))
        self.assertEqual(self.relay.allocated(V6).code(CREATE_PERMISSION, mapped), 443)

    def test_forbidden(self) -> None:
        """No forbidden address gets a permission, alone or among good ones, nor a channel."""
        caller = self.relay.allocated(BOTH)
        for host in FORBIDDEN_PEERS:
            peer = XOR_PEER_ADDRESS(Address(host, 80))
            self.assertEqual(caller.code(CREATE_PERMISSION, peer), 403, host)
            self.assertEqual(caller.code(CREATE_PERMISSION, XOR_PEER_ADDRESS(PEER), peer), 403, host)
            self.assertEqual(caller.code(CHANNEL_BIND, CHANNEL_NUMBER(ONE), peer), 403, host)
        served = self.relay.machine.clients[caller.address]
        self.assertEqual((served.permissions, served.channels), ({}, {}))
        self.assertEqual(self.relay.machine.counters["forbidden"], 3 * len(FORBIDDEN_PEERS))

    def test_capacity(self) -> None:
        """There are so many permissions; those that have ended make room."""
        relay = relayOf(limits=RelayLimits(permissions=4))
        caller = relay.allocated()
        peers = [Address(f"8.1.2.{n}", 1) for n in range(5)]
        self.assertEqual(caller.permit(*peers), 508)
        self.assertEqual(
            (caller.permit(*peers[:4]), caller.permit(*peers[:4]), caller.permit(peers[4])), (0, 0, 508)
        )
        self.assertEqual(caller.bind(ONE, peers[4]), 508)
        relay.sleep(300)
        self.assertEqual(caller.permit(peers[4]), 0)

    def test_many(self) -> None:
        """So many peers fit in one request that it is nearly as long as one may be."""
        caller = self.relay.allocated()
        self.assertEqual(caller.permit(*(Address(f"8.1.2.{n}", 1) for n in range(50))), 0)


class ChannelTests(RelayCase):
    """
    Section 12.2.
    """

    def test_bind(self) -> None:
        """A channel is bound for 600 seconds, and its peer's host permitted for 300."""
        caller = self.relay.allocated()
        self.assertEqual(caller.bind(ONE, PEER), 0)
        served = self.relay.machine.clients[caller.address]
        channel = served.channels[ONE]
        self.assertEqual(
            (channel.until, channel.permission.until), (self.relay.now + 600, self.relay.now + 300)
        )
        self.assertTrue(served.permits(PEER.host, self.relay.now))

    def test_incomplete(self) -> None:
        """Without number or peer it is a bad request."""
        caller = self.relay.allocated()
        number, peer = CHANNEL_NUMBER(ONE), XOR_PEER_ADDRESS(PEER)
        for given in (
            (),
            (number,),
            (peer,),
            (raw(CHANNEL_NUMBER.code, b"\x40\0"), peer),
            (number, raw(0x12, b"x")),
        ):
            self.assertEqual(caller.code(CHANNEL_BIND, *given), 400)

    def test_numbers(self) -> None:
        """Numbers are those of RFC 8656, and of RFC 5766 for older clients."""
        caller = self.relay.allocated()
        for number, code in (
            *((0, 400), (1, 400), (0x3FFF, 400), (0x4000, 0), (0x4FFF, 0), (0x5000, 0), (0x7FFE, 0)),
            *((0x7FFF, 400), (0x8000, 400), (0xFFFF, 400)),
        ):
            self.assertEqual(caller.bind(number, PEER._replace(port=number + 1 & 0xFFFF)), code, hex(number))

    def test_again(self) -> None:
        """Binding again refreshes; another peer on the channel, or another channel for the peer, is a bad request."""
        caller = self.relay.allocated(LIFETIME(3600))
        caller.bind(ONE, PEER)
        self.relay.sleep(400)
        self.assertEqual(
            (caller.bind(ONE, PEER), caller.bind(ONE, PEER2), caller.bind(TWO, PEER)), (0, 400, 400)
        )
        self.assertEqual(caller.bind(TWO, PEER._replace(port=5001)), 0)
        self.relay.sleep(599)
        self.assertEqual(caller.bind(ONE, PEER2), 400)

    def test_free(self) -> None:
        """After 600 seconds number and peer are free for others."""
        caller = self.relay.allocated(LIFETIME(3600))
        caller.bind(ONE, PEER)
        self.relay.sleep(600)
        self.assertEqual((caller.bind(ONE, PEER2), caller.bind(TWO, PEER)), (0, 0))

    def test_own(self) -> None:
        """Channels of other allocations do not matter."""
        first, second = self.relay.allocated(), self.relay.allocated()
        codes = first.bind(ONE, PEER), second.bind(ONE, PEER), second.bind(TWO, PEER2), first.bind(TWO, PEER6)
        self.assertEqual(codes, (0, 0, 0, 443))

    def test_order(self) -> None:
        """A bad number counts before the family, and the family before the address."""
        caller = self.relay.allocated()
        self.assertEqual(caller.bind(0x3FFF, PEER6), 400)
        self.assertEqual(caller.bind(ONE, Address("fd00::1", 9)), 443)
        self.assertEqual(caller.bind(ONE, Address("10.0.0.1", 9)), 403)

    def test_capacity(self) -> None:
        """There are so many channels; those that have ended make room."""
        relay = relayOf(limits=RelayLimits(channels=2))
        caller = relay.allocated(LIFETIME(3600))
        codes = [caller.bind(ONE + n, PEER._replace(port=n + 1)) for n in range(3)]
        self.assertEqual((codes, caller.bind(ONE, PEER._replace(port=1))), ([0, 0, 508], 0))
        relay.sleep(600)
        self.assertEqual(caller.bind(ONE + 2, PEER._replace(port=3)), 0)

    def test_severalPeers(self) -> None:
        """Of several peers in one request the first counts."""
        caller = self.relay.allocated()
        peers = (XOR_PEER_ADDRESS(PEER), XOR_PEER_ADDRESS(Address("10.0.0.1", 1)))
        self.assertEqual(caller.code(CHANNEL_BIND, CHANNEL_NUMBER(ONE), *peers), 0)
        self.assertEqual(list(self.relay.machine.clients[caller.address].byPeer), [PEER])


class SendTests(RelayCase):
    """
    Section 11.2, and what clients get of peers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.caller = self.relay.allocated()
        self.caller.permit(PEER)

    def test_sent(self) -> None:
        """What a client sends goes to the peer, to whichever port, also when it is empty."""
        for port, data in ((5000, b"data"), (1, b""), (65535, b"x" * 60000)):
            self.caller.sendTo(PEER._replace(port=port), data)
            self.assertEqual(self.relay.sent(), [(PEER._replace(port=port), data, False)])

    def test_whole(self) -> None:
        """It is sent whole where the client asks for that."""
        self.caller.sendTo(PEER, b"data", DONT_FRAGMENT(True))
        self.assertEqual(self.relay.sent(), [(PEER, b"data", True)])

    def test_notPermitted(self) -> None:
        """Nothing goes to a host that has no permission, or not any more; sending does not renew one."""
        for peer in (PEER2, PEER6, Address("10.0.0.1", 80)):
            self.caller.sendTo(peer)
        for _ in range(4):
            self.relay.sleep(99)
            self.caller.sendTo(PEER)
        self.assertEqual(len(self.relay.sent()), 3)
        self.assertEqual(self.relay.machine.counters["noPermission"], 4)

    def test_bad(self) -> None:
        """What lacks peer or data, is malformed, or has what must be understood and is not, is dropped in silence."""
        peer, data = XOR_PEER_ADDRESS(PEER), DATA(b"data")
        for given in (
            (),
            (peer,),
            (data,),
            (raw(XOR_PEER_ADDRESS.code, b"xx"), data),
            (peer, data, raw(0x7FFE, b"")),
            (peer, data, PRIORITY(1)),
            (peer, data, raw(DONT_FRAGMENT.code, b"x")),
        ):
            self.caller.indicate(*given)
        self.assertEqual((self.relay.sent(), self.relay.machine.counters["ignored"]), ([], 7))

    def test_optional(self) -> None:
        """What need not be understood does no harm, nor do a name and an integrity that nobody can check."""
        self.caller.sendTo(PEER, b"data", SOFTWARE("x"), raw(0xFFFE, b"y"), USERNAME("x"))
        message = Message(SEND, Class.INDICATION, b"t" * 12, (XOR_PEER_ADDRESS(PEER), DATA(b"data")))
        self.relay.exchange(encode(message, b"any key", fingerprint=True), self.caller.address)
        self.assertEqual(len(self.relay.sent()), 2)

    def test_noAllocation(self) -> None:
        """Who has no allocation sends nothing."""
        self.relay.caller().sendTo(PEER)
        self.assertEqual(self.relay.sent(), [])

    def test_ended(self) -> None:
        """With the allocation its permissions end: those of the next one are its own."""
        self.caller.refresh(LIFETIME(0))
        self.caller.sendTo(PEER)
        self.caller.allocate()
        self.caller.sendTo(PEER)
        self.assertEqual(self.relay.sent(), [])

    def test_forbidden(self) -> None:
        """Nothing goes to forbidden addresses."""
        for host in FORBIDDEN_PEERS:
            self.caller.indicate(XOR_PEER_ADDRESS(Address(host, 80)), DATA(b"data"))
        self.assertEqual(self.relay.sent(), [])

    def test_indication(self) -> None:
        """A client is told who sent what."""
        for peer, data in ((PEER, b"data"), (PEER6, b""), (PEER, b"x" * 65000)):
            message = decode(self.relay.machine.indication(peer, data))
            self.assertEqual((message.method, message.klass), (DATA_INDICATION, Class.INDICATION))
            self.assertEqual((message.get(XOR_PEER_ADDRESS), message.get(DATA)), (peer, data))
            self.assertEqual(len(message.attributes), 2)

    def test_ignored(self) -> None:
        """Answers, indications and methods that are none of a client's are dropped in silence."""
        for method, klass in (
            (ALLOCATE, Class.SUCCESS),
            (ALLOCATE, Class.ERROR),
            (ALLOCATE, Class.INDICATION),
            (SEND, Class.REQUEST),
            (DATA_INDICATION, Class.INDICATION),
            (DATA_INDICATION, Class.REQUEST),
            (BINDING, Class.INDICATION),
            (BINDING, Class.SUCCESS),
            (0x00A, Class.REQUEST),
            (0xFFF, Class.REQUEST),
        ):
            held = (XOR_PEER_ADDRESS(PEER), DATA(b"x"))
            data = encode(Message(method, klass, b"t" * 12, held))
            self.assertEqual(self.relay.exchange(data, self.caller.address), [])
        self.assertEqual(self.relay.sent(), [])

    def test_garbage(self) -> None:
        """What is no message gets no answer."""
        good = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12))
        for data in (b"", b"\0", good[:19], good + b"x", b"\x80" + good[1:], good[:4] + bytes(4) + good[8:]):
            self.assertEqual(self.relay.exchange(data, self.caller.address), [])

    def test_binding(self) -> None:
        """STUN's own request is answered, with and without an allocation."""
        for address in (self.caller.address, Address("2600::9", 1, "tls4")):
            [answer] = self.relay.exchange(encode(Message(BINDING, Class.REQUEST, b"t" * 12)), address)
            self.assertEqual(decode(answer).get(XOR_MAPPED_ADDRESS), address._replace(via=""))


class OwnHostTests(SynchronousTestCase):
    """
    The relay's own host.
    """

    def setUp(self) -> None:
        self.relay = relayOf(hosts={4: "8.0.0.1", 6: "2600::8"}, external={"8.0.0.1": "9.0.0.1"})
        self.relay.machine.policy.setOwn(["8.0.0.1", "9.0.0.1", "8.0.0.2", "2600::8"])
        self.alice, self.bob = self.relay.allocated(BOTH), self.relay.allocated(BOTH, user="high-bob")

    def test_relayed(self) -> None:
        """The relayed address of another allocation is a good peer, and one's own too."""
        for peer in (*self.bob.relayed, *self.alice.relayed):
            self.assertEqual(self.alice.permit(peer), 0)
            self.alice.sendTo(peer)
        self.assertEqual([each for each, _, _ in self.relay.sent()], [*self.bob.relayed, *self.alice.relayed])
        self.assertEqual(self.alice.bind(ONE, self.bob.relayed[0]), 0)

    def test_otherPorts(self) -> None:
        """Other ports of the relay's host are not, whichever of its addresses it is, and though the host has a permission."""
        self.alice.permit(*self.bob.relayed)
        hosts = ("9.0.0.1", "8.0.0.1", "8.0.0.2", "2600::8")
        for peer in (
            Address(host, port) for host in hosts for port in (22, 3478, self.bob.relayed[0].port - 1)
        ):
            self.assertEqual((self.alice.permit(peer), self.alice.bind(ONE, peer)), (403, 403))
            self.alice.sendTo(peer)
        self.assertEqual(self.relay.sent(), [])

    def test_gone(self) -> None:
        """When the other allocation has ended, its port is one as any other."""
        peer = self.bob.relayed[0]
        self.alice.permit(peer)
        self.bob.refresh(LIFETIME(0))
        self.relay.events()
        self.alice.sendTo(peer)
        self.assertEqual(
            (self.relay.sent(), self.alice.permit(peer), self.alice.bind(ONE, peer)), ([], 403, 403)
        )

    def test_alwaysOwn(self) -> None:
        """The addresses that relay are its own, though nobody has said so."""
        relay = relayOf(hosts={4: "8.0.0.1"}, external={"8.0.0.1": "9.0.0.1"})
        caller = relay.allocated()
        for host in ("8.0.0.1", "9.0.0.1"):
            self.assertEqual(caller.permit(Address(host, 22)), 403)

    def test_allowed(self) -> None:
        """A network that the operator allows does not open the relay's own host to peers."""
        allowed = PeerPolicy((ip_network("10.0.0.0/8"),))
        relay = relayOf(hosts={4: "10.0.0.1"}, policy=allowed)
        alice, bob = relay.allocated(), relay.allocated(user="high-bob")
        self.assertEqual(
            (alice.permit(Address("10.0.0.2", 22)), alice.permit(Address("10.0.0.1", 22))), (0, 403)
        )
        self.assertEqual(alice.permit(*bob.relayed), 0)


class ServiceTests(RelayCase):
    """
    Classes of service, and the end of clients.
    """

    def served(self, user: str, **values: Any) -> Any:
        caller = self.relay.allocated(user=user, **values)
        return self.relay.machine.clients[caller.address]

    def test_classes(self) -> None:
        """The class that the mediator has put in the name decides on the rates, in each direction."""
        low, high = self.served("low-alice"), self.served("high-alice")
        self.assertEqual((low.service, low.user, high.service), ("low", "low-alice", "high"))
        self.assertEqual([bucket.rate for bucket in (*low.up, *low.down)], [32_000] * 4)
        self.assertEqual((high.up, high.down), ((), ()))
        self.assertEqual(len(set(map(id, (*low.up, *low.down)))), 4)

    def test_shared(self) -> None:
        """What is meant for a user is shared by all that he has, with whatever credentials."""
        first, second = self.served("low-alice"), self.served("low-alice", expiry=self.relay.wall + 999)
        other = self.served("low-bob")
        shared = [bucket for bucket in first.up if any(bucket is each for each in second.up)]
        self.assertEqual(len(shared), 1)
        self.assertFalse(
            [bucket for bucket in first.up if any(bucket is each for each in (*other.up, *second.down))]
        )

    def test_comesBack(self) -> None:
        """Who gives his allocation back and takes another has no more than before; after a while all is forgotten."""
        caller = self.relay.allocated(user="low-alice")
        users: list[Bandwidth] = []
        for _ in range(3):
            served = self.relay.machine.clients[caller.address]
            users.append(served.up[-1])
            served.up[-1].take(1000, 50, self.relay.now)
            caller.refresh(LIFETIME(0))
            caller.allocate()
        self.assertEqual(len(set(map(id, users))), 1)
        caller.refresh(LIFETIME(0))
        self.relay.sleep(60)
        for user in ("high-x", "high-y"):
            self.relay.allocated(user=user)
        self.assertEqual((len(self.relay.machine._allocations._users), self.relay.machine.users), (2, 2))

    def test_manyUsers(self) -> None:
        """Of users that have nothing any more, nothing is kept for long."""
        for number in range(300):
            self.relay.allocated(user=f"low-{number}").refresh(LIFETIME(0))
        self.assertLess(len(self.relay.machine._allocations._users), 5)

    def test_settings(self) -> None:
        """An operator may have other rates, and other classes."""
        self.relay = relayOf(services={"low": Service(None, 5.0), "high": Service(7.0)})
        low, high = self.served("low-a"), self.served("high-a")
        self.assertEqual([[bucket.rate for bucket in each] for each in (low.up, high.up)], [[5.0], [7.0]])

    def test_gone(self) -> None:
        """The allocation of a connection that is lost ends; that of others does not."""
        streams = [self.relay.allocated(BOTH, address=Address("8.7.7.7", 7, via)) for via in ("tcp1", "tcp2")]
        self.relay.machine.gone(streams[0].address)
        self.relay.machine.gone(Address("8.7.7.7", 7, "tcp9"))
        [event] = self.relay.events()
        assert isinstance(event, Ended)
        self.assertEqual(
            (event.served.client, list(self.relay.machine.clients)),
            (streams[0].address, [streams[1].address]),
        )
        self.assertEqual(len(self.relay.bound), 2)

    def test_endAll(self) -> None:
        """In the end all ports are given back, reserved ones too."""
        self.relay.allocated(EVEN_PORT(True))
        self.relay.allocated(BOTH)
        self.relay.machine.endAll()
        self.assertEqual(
            (self.relay.bound, [type(each) for each in self.relay.events()]), (set(), [Ended, Ended])
        )
        self.assertIsNone(self.relay.machine.deadline())

    def test_manyTimes(self) -> None:
        """A client that comes and goes ten thousand times leaves nothing behind."""
        caller = self.relay.caller()
        for number in range(2000):
            caller.allocate()
            caller.bind(ONE, PEER)
            self.relay.events()
            self.relay.sleep(0.1)
            if number % 2:
                caller.refresh(LIFETIME(0))
            else:
                self.relay.machine.gone(caller.address)
            self.relay.events()
        machine = self.relay.machine
        self.assertEqual((machine.clients, machine._byRelayed, self.relay.bound), ({}, {}, set()))
        self.assertLess(len(machine._allocations._schedule._heap), 200)

    def test_counters(self) -> None:
        """What happened is counted by reason, and reasons are few."""
        caller = self.relay.allocated()
        caller.permit(Address("10.0.0.1", 1))
        caller.tryAllocate()
        counters = self.relay.machine.counters
        self.assertEqual(
            {key: counters[key] for key in ("allocated", "forbidden", "error403", "error437", "error401")},
            {"allocated": 1, "forbidden": 1, "error403": 1, "error437": 1, "error401": 1},
        )

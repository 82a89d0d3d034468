"""
The ports of relayed addresses.
"""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.relayports import RESERVED_FOR, RelayPorts
from vnet.values import Address

HOSTS = {4: "192.0.2.1", 6: "2001:db8::1"}


class PortsCase(SynchronousTestCase):
    """
    Ports of a system that may refuse some.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.bound: set[Address] = set()
        self.foreign: set[int] = set()
        self.tried = 0

    def open(self, address: Address) -> bool:
        self.tried += 1
        assert address not in self.bound
        if address.port in self.foreign:
            return False
        self.bound.add(address)
        return True

    def ports(self, numbers: range, seed: int = 1, reservations: int = 64) -> RelayPorts:
        source = random.Random(seed).randbytes
        return RelayPorts(HOSTS, numbers, source, self.open, self.bound.remove, reservations)


class RelayPortsTests(PortsCase):
    """
    L{RelayPorts}.
    """

    def test_all(self) -> None:
        """All ports are given out, each once, and then none; who gives one back makes room."""
        ports = self.ports(range(50000, 50100))
        taken = [ports.take(4) for _ in range(100)]
        self.assertEqual({each.port for each in taken if each}, set(range(50000, 50100)))
        self.assertIsNone(ports.take(4))
        self.assertEqual((len(ports), len(self.bound)), (100, 100))
        assert taken[7] is not None
        ports.release(taken[7])
        self.assertEqual(ports.take(4), taken[7])

    def test_families(self) -> None:
        """Each family has ports of its own, and a family that does not relay has none."""
        ports = self.ports(range(50000, 50010))
        both = [ports.take(family) for family in (4, 6) * 10]
        self.assertNotIn(None, both)
        self.assertEqual({each.host for each in both if each}, set(HOSTS.values()))
        only = RelayPorts(
            {4: "192.0.2.1"}, range(50000, 50010), random.Random(1).randbytes, self.open, lambda _: None
        )
        self.assertIsNone(only.take(6))

    def test_unpredictable(self) -> None:
        """Ports come in no order, and with other randomness in another one."""
        one = [self.ports(range(49152, 65536), 1).take(4) for _ in range(1)]
        self.begin()
        several = [self.ports(range(49152, 65536), seed).take(4) for seed in (1, 2, 3, 4)]
        self.assertEqual(one[0], several[0])
        self.assertEqual(len(set(several)), 4)
        self.begin()
        ports = self.ports(range(49152, 65536))
        numbers = [each.port for each in (ports.take(4) for _ in range(200)) if each]
        self.assertNotEqual(numbers, sorted(numbers))
        self.assertTrue(min(numbers) < 52000 and max(numbers) > 62000)

    def test_foreign(self) -> None:
        """Ports that other programs have are passed over."""
        self.foreign = set(range(50000, 50100)) - {50042}
        ports = self.ports(range(50000, 50100))
        found = [each for each in (ports.take(4) for _ in range(60)) if each is not None]
        self.assertEqual(found, [Address("192.0.2.1", 50042)])

    def test_lastFree(self) -> None:
        """As long as one port is free it is found, also beside those of other programs."""
        self.foreign = set(range(50090, 50100))
        ports = self.ports(range(50000, 50100))
        self.assertNotIn(None, [ports.take(4) for _ in range(90)])
        self.assertIsNone(ports.take(4))

    def test_even(self) -> None:
        """An even port is even, as long as there is one."""
        ports = self.ports(range(50001, 50012))
        taken = [ports.take(4, even=True) for _ in range(6)]
        self.assertEqual([each.port for each in taken if each and each.port % 2], [])
        self.assertEqual([each for each in taken if each is None], [None])
        self.assertIsNotNone(ports.take(4))

    def test_pair(self) -> None:
        """A pair is an even port and the one after it, which nobody gets who has not the token."""
        ports = self.ports(range(50000, 50004))
        first, second = ports.takePair(4, 0.0), ports.takePair(4, 0.0)
        assert first is not None and second is not None
        self.assertEqual({first[0].port, second[0].port}, {50000, 50002})
        self.assertEqual((ports.take(4), ports.takePair(4, 0.0)), (None, None))
        self.assertEqual(ports.redeem(first[1]), first[0]._replace(port=first[0].port + 1))
        self.assertIsNone(ports.redeem(first[1]))
        self.assertIsNone(ports.redeem(b"12345678"))
        self.assertEqual(len(first[1]), 8)

    def test_noHalfPair(self) -> None:
        """Where only one of a pair is free, there is no pair, and nothing stays bound."""
        self.foreign = {50001, 50002}
        ports = self.ports(range(50000, 50004))
        self.assertIsNone(ports.takePair(4, 0.0))
        self.assertEqual((self.bound, len(ports)), (set(), 0))
        ports = self.ports(range(50004, 50005))
        self.assertIsNone(ports.takePair(4, 0.0))

    def test_reservation(self) -> None:
        """A reservation is kept for 30 seconds, and what nobody redeems is free again."""
        ports = self.ports(range(50000, 50002))
        pair = ports.takePair(4, 100.0)
        assert pair is not None
        self.assertEqual(ports.deadline(), 100.0 + RESERVED_FOR)
        self.assertGreaterEqual(RESERVED_FOR, 30)
        ports.expire(100.0 + RESERVED_FOR - 0.1)
        self.assertEqual(len(ports), 2)
        ports.expire(100.0 + RESERVED_FOR)
        self.assertEqual((len(ports), ports.deadline(), ports.redeem(pair[1])), (1, None, None))
        self.assertEqual(ports.take(4), Address("192.0.2.1", 50001))

    def test_reservations(self) -> None:
        """There are at most so many reservations at once."""
        ports = self.ports(range(50000, 50100), reservations=3)
        self.assertEqual([ports.takePair(4, 0.0) is not None for _ in range(5)], [True] * 3 + [False] * 2)
        ports.expire(RESERVED_FOR)
        self.assertIsNotNone(ports.takePair(4, RESERVED_FOR))

    def test_releaseTwice(self) -> None:
        """What is free may be given back again: nothing happens."""
        ports = self.ports(range(50000, 50010))
        taken = ports.take(4)
        assert taken is not None
        for address in (taken, taken, Address("192.0.2.9", 1)):
            ports.release(address)
        self.assertEqual((len(ports), self.bound), (0, set()))

    @given(
        st.lists(st.sampled_from(("take", "even", "pair", "redeem", "release", "expire")), max_size=80),
        st.integers(),
    )
    def test_unique(self, steps: list[str], seed: int) -> None:
        """Whatever is asked, no address is given to two, and all that is bound is known."""
        self.begin()
        ports, held, tokens, now = self.ports(range(50000, 50020), seed), list[Address](), list[bytes](), 0.0
        choose = random.Random(seed)
        for step in steps:
            now += 1.0
            found: Address | None = None
            if step in ("take", "even"):
                found = ports.take(4, step == "even")
            elif step == "pair" and (pair := ports.takePair(4, now)):
                found = pair[0]
                tokens.append(pair[1])
            elif step == "redeem" and tokens:
                found = ports.redeem(tokens.pop(choose.randrange(len(tokens))))
            elif step == "release" and held:
                ports.release(held.pop(choose.randrange(len(held))))
            elif step == "expire":
                now += RESERVED_FOR
                ports.expire(now)
            if found is not None:
                self.assertNotIn(found, held)
                held.append(found)
            self.assertLessEqual(set(held), self.bound)
            self.assertEqual(len(ports), len(self.bound))

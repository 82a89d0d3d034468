"""
Tests for cryptokey routing's table.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.allowedips import AllowedIps

# Few bits, so that prefixes meet.
_V4 = st.tuples(st.integers(0, 7), st.sampled_from([0, 1, 8, 29, 30, 31, 32])).map(
    lambda it: f"{IPv4Address(it[0])}/{it[1]}"
)
_V6 = st.tuples(st.integers(0, 7), st.sampled_from([0, 64, 126, 127, 128])).map(
    lambda it: f"{IPv6Address(it[0])}/{it[1]}"
)
_ACTIONS = st.lists(st.tuples(st.booleans(), st.one_of(_V4, _V6), st.sampled_from("abc")), max_size=30)


class SlowReference:
    """
    The same table as a list that is searched through.
    """

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def add(self, prefix: str, owner: str) -> None:
        """
        See L{AllowedIps.add}.
        """
        self.owners[str(ip_network(prefix, strict=False))] = owner

    def discard(self, prefix: str, owner: str) -> None:
        """
        See L{AllowedIps.discard}.
        """
        key = str(ip_network(prefix, strict=False))
        if self.owners.get(key) == owner:
            del self.owners[key]

    def find(self, address: bytes) -> str | None:
        """
        See L{AllowedIps.find}.
        """
        found = [
            (ip_network(prefix).prefixlen, owner)
            for prefix, owner in self.owners.items()
            if ip_network(prefix).version == ip_address(address).version
            and ip_address(address) in ip_network(prefix)
        ]
        return max(found)[1] if found else None


class AllowedIpsTests(SynchronousTestCase):
    """
    L{AllowedIps}.
    """

    @given(_ACTIONS)
    def test_slowReference(self, actions: list[tuple[bool, str, str]]) -> None:
        """
        After any changes the owner of each address is that of the longest prefix that holds it.
        """
        table: AllowedIps[str] = AllowedIps()
        reference = SlowReference()
        for isAddition, prefix, owner in actions:
            if isAddition:
                table.add(prefix, owner)
                reference.add(prefix, owner)
            else:
                table.discard([prefix], owner)
                reference.discard(prefix, owner)
        for number in (*range(9), 1 << 31):
            for size in (4, 16):
                address = number.to_bytes(size, "big")
                self.assertEqual(table.find(address), reference.find(address))

    def test_empty(self) -> None:
        """
        In an empty table, and of bytes that are no address, there is no owner.
        """
        table: AllowedIps[str] = AllowedIps()
        self.assertIsNone(table.find(bytes(4)))
        table.add("0.0.0.0/0", "a")
        self.assertEqual(table.find(bytes(4)), "a")
        self.assertIsNone(table.find(bytes(16)))
        self.assertIsNone(table.find(bytes(5)))

    def test_nonsense(self) -> None:
        """
        What is no prefix is refused.
        """
        table: AllowedIps[str] = AllowedIps()
        self.assertRaises(ValueError, table.add, "10.0.0.0/33", "a")
        self.assertRaises(ValueError, table.add, "ten", "a")

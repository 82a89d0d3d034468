"""
To whom a relay may send.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.peerpolicy import FORBIDDEN, PeerPolicy, isTunnelled
from vnet.test.forbiddenpeers import FORBIDDEN_PEERS

GOOD = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *(
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.0.3.1",
    ),
    *("192.167.255.255", "192.169.0.1", "198.17.255.255", "198.20.0.1", "198.51.101.1", "203.0.114.1"),
    *("223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1"),
    *("2003::1", "2600::1", "2a00:1450::1", "3ffe::1", "::ffff:8.8.8.8"),
)

_FOURS = st.integers(0, 2**32 - 1)


def _edges() -> list[int]:
    """
    The first and the last address of each network of IPv4 that is forbidden, and what is next to them.
    """
    found = []
    for network in FORBIDDEN:
        if network.version == 4:
            first, last = int(network.network_address), int(network.broadcast_address)
            found += [max(first - 1, 0), first, last, min(last + 1, 2**32 - 1)]
    return found


class PeerPolicyTests(SynchronousTestCase):
    """
    L{PeerPolicy}.
    """

    def test_forbidden(self) -> None:
        """Nothing of what is no host on the Internet is a peer, however it is written."""
        policy = PeerPolicy()
        self.assertGreaterEqual(len(set(FORBIDDEN_PEERS)), 60)
        self.assertEqual([each for each in FORBIDDEN_PEERS if policy.allows(each)], [])

    def test_good(self) -> None:
        """Hosts on the Internet are peers, also those next to a forbidden block."""
        policy = PeerPolicy()
        self.assertEqual([each for each in GOOD if not policy.allows(each)], [])

    def test_noAddress(self) -> None:
        """What is no address is no peer, and neither is one with a zone."""
        policy = PeerPolicy((ip_network("0.0.0.0/0"), ip_network("::/0")))
        for text in (
            "",
            "localhost",
            "8.8.8",
            "8.8.8.8.8",
            "008.8.8.8",
            "0x8080808",
            "134744072",
            "8.8.8.8 ",
        ):
            self.assertFalse(policy.allows(text), text)
        for text in ("fe80::1%eth0", "2600::1%1", "::ffff:8.8.8.8%lo", "8.8.8.8%1"):
            self.assertFalse(policy.allows(text), text)

    def test_own(self) -> None:
        """The relay's own addresses are no peers, however they are written, and may change."""
        policy = PeerPolicy(own=frozenset(("8.8.8.8", "2600:0:0::1")))
        for host in ("8.8.8.8", "::ffff:8.8.8.8", "2600::1"):
            self.assertFalse(policy.allows(host), host)
        self.assertTrue(policy.allows("9.9.9.9"))
        policy.setOwn(["::ffff:9.9.9.9"])
        self.assertEqual((policy.allows("8.8.8.8"), policy.allows("9.9.9.9")), (True, False))

    def test_allowed(self) -> None:
        """What was allowed is a peer though it is forbidden or denied."""
        allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"), ip_network("203.0.113.7"))
        policy = PeerPolicy(allowed, (ip_network("10.0.0.0/8"), ip_network("5.0.0.0/8")))
        good = ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "203.0.113.7")
        self.assertEqual([each for each in good if not policy.allows(each)], [])
        bad = ("10.2.0.1", "fc00::1", "203.0.113.8", "5.6.7.8", "::ffff:5.6.7.8", "127.0.0.1")
        self.assertEqual([each for each in bad if policy.allows(each)], [])

    def test_allowAll(self) -> None:
        """Who allows everything has not allowed the relay's own host, nor tunnels of Teredo and 6to4."""
        policy = PeerPolicy(
            (ip_network("0.0.0.0/0"), ip_network("::/0")), own=frozenset(("10.0.0.5", "fd00::5"))
        )
        for host in (
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "::",
            "10.0.0.5",
            "::ffff:10.0.0.5",
            "fd00::5",
        ):
            self.assertFalse(policy.allows(host), host)
        for host in ("2001::1", "2002:808:808::1"):
            self.assertFalse(policy.allows(host), host)
        for host in ("10.0.0.6", "fd00::6", "192.168.0.1", "8.8.8.8"):
            self.assertTrue(policy.allows(host), host)

    def test_allowOwn(self) -> None:
        """The relay's own host is a peer where it was allowed by its address alone."""
        allowed = (ip_network("10.0.0.5"), ip_network("127.0.0.1/32"), ip_network("::1/128"))
        policy = PeerPolicy(allowed, own=frozenset(("10.0.0.5",)))
        self.assertEqual(
            [policy.allows(each) for each in ("10.0.0.5", "127.0.0.1", "::1", "127.0.0.2")],
            [True, True, True, False],
        )

    def test_remembered(self) -> None:
        """Verdicts are remembered for so many hosts only."""
        policy = PeerPolicy()
        for number in range(10_000):
            self.assertTrue(policy.allows(f"8.0.{number >> 8}.{number & 255}"))
        self.assertLessEqual(len(policy._verdicts), 4096)

    @given(st.one_of(_FOURS, st.sampled_from(_edges())))
    def test_four(self, number: int) -> None:
        """An IPv4 address that is a peer is global for the library too, and no multicast one."""
        address = IPv4Address(number)
        if PeerPolicy().allows(str(address)):
            self.assertTrue(address.is_global and not address.is_multicast and not address.is_reserved)
        elif address.is_global:
            relay6to4 = address in ip_network("192.88.99.0/24")
            notKnown = address in ip_network("192.0.0.0/24")
            self.assertTrue(address.is_multicast or address.is_reserved or relay6to4 or notKnown)

    @given(st.one_of(st.integers(0, 2**128 - 1), st.integers(0x20 << 120, (0x40 << 120) - 1)))
    def test_six(self, number: int) -> None:
        """An IPv6 address that is a peer is global unicast for the library too, and holds none of IPv4."""
        address = IPv6Address(number)
        if address.ipv4_mapped is None and PeerPolicy().allows(str(address)):
            self.assertTrue(address.is_global and not address.is_multicast and not address.is_reserved)
            self.assertTrue(address in ip_network("2000::/3") and not isTunnelled(str(address)))
            self.assertEqual((address.sixtofour, address.teredo), (None, None))

    @given(_FOURS)
    def test_embedded(self, number: int) -> None:
        """An IPv4 address inside of one of IPv6 is no way round: mapped it counts as what it is, otherwise it is refused."""
        policy, four = PeerPolicy(), ip_address(number)
        self.assertEqual(policy.allows(str(IPv6Address(0xFFFF << 32 | number))), policy.allows(str(four)))
        for prefix in ("::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"):
            self.assertFalse(policy.allows(str(IPv6Address(int(IPv6Address(prefix)) | number))), prefix)
        self.assertFalse(policy.allows(str(IPv6Address(0x2002 << 112 | number << 80 | 1))))
        self.assertFalse(policy.allows(str(IPv6Address(0x2001 << 112 | (number ^ 0xFFFFFFFF)))))

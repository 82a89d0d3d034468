# -*- test-case-name: vnet.test.test_peerpolicy -*-
"""
To whom a relay sends: not into its own host and its networks, nor to what is no host on the Internet.

The table is written out, since "global" in the sense of the IANA registries is no test here: an address of IPv6 may hold one
of IPv4 that is forbidden (C{::127.0.0.1}, C{64:ff9b::7f00:1}, C{2002:7f00:1::}).  Addresses come as L{vnet.values.Address}
has them: an IPv4-mapped one is IPv4.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import define, field

__all__ = ["FORBIDDEN", "TUNNELLED", "Network", "PeerPolicy", "isTunnelled"]

Network = IPv4Network | IPv6Network

#: RFC 6890 and its registries.  Of IPv6 only 2000::/3 is given to networks: what lies outside is local, multicast, or holds an
#: address of IPv4.
FORBIDDEN: tuple[Network, ...] = tuple(
    ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)

#: Teredo and 6to4, through which packets could go round and round (RFC 8656 section 21.4).
TUNNELLED: tuple[Network, ...] = (ip_network("2001::/32"), ip_network("2002::/16"))

_REMEMBERED = 4096


def isTunnelled(host: str) -> bool:
    """
    Whether an address belongs to a tunnel of Teredo or 6to4, whose clients and peers a relay has to refuse.

    @param host: an IP literal.
    """
    address = ip_address(host.partition("%")[0])
    return any(address in network for network in TUNNELLED)


def _canonical(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(str(_unmapped(host) or host) for host in hosts)


@define(eq=False, repr=False)
class PeerPolicy:
    """
    Which hosts may be peers.

    @ivar own: the addresses of the relay's host; another set when they change.
    """

    _allowed: tuple[Network, ...] = ()
    _denied: tuple[Network, ...] = ()
    own: frozenset[str] = field(default=(), converter=_canonical, kw_only=True)
    _verdicts: dict[str, bool] = field(factory=dict, init=False)

    def setOwn(self, hosts: Iterable[str]) -> None:
        """
        These are the addresses of the relay's host now.
        """
        self.own = _canonical(hosts)
        self._verdicts.clear()

    def allows(self, host: str) -> bool:
        """
        Whether a relay may send to a host.  What was allowed wins over what was denied and what is L{FORBIDDEN}; but the
        relay's own host is a peer only where it was allowed by itself, not in a network.

        @param host: an IP literal.
        """
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._judge(host)
        return verdict

    def _judge(self, host: str) -> bool:
        address = _unmapped(host)
        if address is None or isTunnelled(str(address)):
            return False
        allowed = [network for network in self._allowed if address in network]
        if str(address) in self.own or address.is_loopback or address.is_unspecified:
            return any(network.num_addresses == 1 for network in allowed)
        return bool(allowed) or not any(address in network for network in (*FORBIDDEN, *self._denied))


def _unmapped(host: str) -> IPv4Address | IPv6Address | None:
    """
    @return: L{None} for what is no address, or has a zone.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address

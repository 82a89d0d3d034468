# -*- test-case-name: vnet.test.test_firewall_passage -*-
"""
A chain of another firewall on this computer that drops what is forwarded for a shared LAN, and what its user can do about that.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

from attrs import field, frozen

from vnet.protocols.codec.names import displayable

__all__ = ["Barrier"]

_NAME = 64
_DOCKER, _UFW, _FIREWALLD = "Docker", "ufw", "firewalld"


@frozen
class Barrier:
    """
    What drops.

    @ivar family: of nftables, as C{ip} or C{inet}; C{table} and C{chain}: the names of the table, and of its chain at the hook
        C{forward}.
    @ivar chains: the names of all chains of the table: they tell whose it is.
    @ivar isPolicy: whether it is the policy of the chain that drops, and no rule.
    """

    family: str
    table: str
    chain: str
    chains: Collection[str] = field(eq=False, repr=False)
    isPolicy: bool = True

    @property
    def keeper(self) -> str:
        """
        The program whose table it is; empty: it is not known.
        """
        if "DOCKER-USER" in self.chains:
            return _DOCKER
        if "ufw-user-forward" in self.chains or "ufw6-user-forward" in self.chains:
            return _UFW
        return _FIREWALLD if self.table == _FIREWALLD else ""

    @property
    def why(self) -> str:
        """
        One line.
        """
        keeper = self.keeper
        who = f"the firewall of this computer ({keeper})" if keeper else "another firewall of this computer"
        chain, table = (displayable(each, _NAME) for each in (self.chain, self.table))
        how = "has the policy drop" if self.isPolicy else "has rules that drop it"
        return f"{who} drops what is forwarded: the chain {chain} of the table {self.family} {table} {how}"

    def help(self, interface: str, prefix: str) -> list[str]:
        """
        @param interface: the virtual one.
        @param prefix: the LAN.
        @return: the commands that let it through, one line each.
        """
        keeper = self.keeper
        if keeper == _FIREWALLD:
            return [f"sudo firewall-cmd --zone=trusted --change-interface={interface}"]
        if keeper == _UFW:
            return [
                f"sudo ufw route allow in on {interface} to {prefix}",
                f"sudo ufw route allow out on {interface} from {prefix}",
            ]
        if self.family in ("ip", "ip6") and (self.table, self.chain) == ("filter", "FORWARD"):
            tool = "ip6tables" if self.family == "ip6" else "iptables"
            start = f"sudo {tool} -I {'DOCKER-USER' if keeper else 'FORWARD'}"
            return [
                f"{start} -i {interface} -d {prefix} -j ACCEPT",
                f"{start} -o {interface} -s {prefix} -j ACCEPT",
            ]
        family = "ip6" if ":" in prefix else "ip"
        place = " ".join(shlex.quote(displayable(each, _NAME)) for each in (self.table, self.chain))
        start = f"sudo nft insert rule {self.family} {place}"
        return [
            f"{start} iifname {interface} {family} daddr {prefix} accept",
            f"{start} oifname {interface} {family} saddr {prefix} accept",
        ]

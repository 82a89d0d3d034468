# -*- test-case-name: vnet.test.test_firewall -*-
"""
What users ask of the firewall, and are told of it, as JSON values: docs/commands documents the keys.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from attrs import define

from vnet.client.firewall.filtered import Filtered
from vnet.client.firewall.firewall import Firewall
from vnet.client.firewall.nft import NftError
from vnet.client.firewall.policy import OPEN, PING_ONLY, parsePolicy
from vnet.client.state import StateFile
from vnet.errors import DecodeError, Refused
from vnet.protocols.codec.names import displayable

__all__ = ["FirewallVerb"]


@define(eq=False, repr=False)
class FirewallVerb:
    """
    The verb C{firewall}, and what other verbs say of it.
    """

    _state: StateFile
    _filtered: Filtered
    _firewall: Firewall

    async def show(self, name: str | None = None) -> dict[str, Any]:
        """
        @param name: of one network; L{None}: all.
        @return: the policies, and what was dropped.
        @raise Refused: this node is in no such network.
        """
        if name is not None:
            self._filtered.named(name)
        dropped = await self._firewall.dropped()
        networks = [
            {"name": self._filtered.nameOf(network), "policy": str(policy), "dropped": dropped[network]}
            for network, policy in self._filtered.policies().items()
        ]
        chosen = [each for each in networks if name in (None, each["name"])]
        return {
            "networks": sorted(chosen, key=lambda network: str(network["name"]).casefold()),
            "droppedOthers": dropped[b""],
        }

    async def set(self, name: str, text: str) -> dict[str, Any]:
        """
        Choose a network's policy.

        @raise Refused: there is no such network or policy, or the system does not take it: all is as it was.
        """
        try:
            policy = parsePolicy(text)
        except DecodeError as error:
            raise Refused(str(error)) from error
        networks = self._filtered.named(name)
        before = self._state.remembered.firewall
        self._state.setFirewall(networks, policy)
        try:
            await self._firewall.apply()
        except NftError as error:
            self._state.update(firewall=before)
            self._firewall.changed()
            raise Refused(f"the firewall cannot be set: {error}") from error
        return {"network": name, "policy": str(policy)}

    def policies(self) -> list[dict[str, str]]:
        """
        @return: the policy of each network, for the status.
        """
        found = [
            {"network": self._filtered.nameOf(network), "policy": str(policy)}
            for network, policy in self._filtered.policies().items()
        ]
        return sorted(found, key=lambda each: each["network"].casefold())

    def policyOf(self, name: str) -> str:
        """
        @return: the policy of a network that was just entered.
        """
        chosen = {each["network"]: each["policy"] for each in self.policies()}
        return chosen.get(name, str(OPEN))

    def withPolicy(self, key: bytes, described: Mapping[str, Any]) -> dict[str, Any]:
        """
        @param key: a peer's.
        @param described: what C{vnet peer} says of it.
        @return: the same, and what it may do here.
        """
        policy = self._filtered.policyFor(key)
        hint = [] if policy == OPEN else [self._hint(key, str(policy))]
        return {**described, "firewall": str(policy), "help": [*described["help"], *hint]}

    def _hint(self, key: bytes, policy: str) -> str:
        names = sorted(self._filtered.nameOf(network) for network in self._filtered.networksOf(key))
        lets = "pings" if policy == str(PING_ONLY) else f"pings and {policy}"
        command = f": vnet firewall {shlex.quote(displayable(names[0]))} open" if names else ""
        return f"this computer's firewall lets in only {lets} from it{command}"

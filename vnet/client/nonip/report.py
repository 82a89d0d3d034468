# -*- test-case-name: vnet.test.test_nonip -*-
"""
What users choose of the LAN in a network, and are told of it, as JSON values: docs/commands documents the keys.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from vnet.client.firewall.filtered import Filtered
from vnet.client.nonip.allowed import Allowed
from vnet.client.nonip.choice import changed
from vnet.client.state import StateFile
from vnet.errors import DecodeError, Refused
from vnet.protocols.codec.llc import formatTypes

__all__ = ["LanVerb"]


@define(eq=False, repr=False)
class LanVerb:
    """
    The verb C{lan}.
    """

    _state: StateFile
    _filtered: Filtered
    _allowed: Allowed

    def show(self, name: str | None = None) -> dict[str, Any]:
        """
        @param name: of one network; L{None}: all.
        @raise Refused: this node is in no such network.
        """
        networks = list(self._filtered.policies()) if name is None else self._filtered.named(name)
        described = [self._describe(network) for network in networks]
        return {
            "networks": sorted(described, key=lambda each: str(each["name"]).casefold()),
            "carriesFrames": self._allowed.default is not None,
        }

    def _describe(self, network: bytes) -> dict[str, Any]:
        choice = self._allowed.choiceOf(network)
        default = self._allowed.default or frozenset()
        types = formatTypes(default) if choice.etherTypes is None else choice.etherTypes
        return {
            "name": self._filtered.nameOf(network),
            "nonIp": choice.isOn,
            "etherTypes": types,
            "etherTypesDefault": choice.etherTypes is None,
        }

    def set(self, name: str, nonIp: str | None, etherTypes: str | None) -> dict[str, Any]:
        """
        Choose for a network; L{None} leaves as it is.

        @raise Refused: there is no such network, or what is chosen is none: all is as it was.
        """
        networks = self._filtered.named(name)
        choices = {}
        for network in networks:
            try:
                choices[network] = changed(self._allowed.choiceOf(network), nonIp, etherTypes)
            except DecodeError as error:
                raise Refused(str(error)) from error
        if self._allowed.default is None and any(choice.etherTypes for choice in choices.values()):
            raise Refused("the interface carries IP only: start vnet-client with --device=tap")
        self._state.setNonIp(choices)
        self._allowed.changed()
        return self.show(name)

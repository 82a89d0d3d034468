# -*- test-case-name: vnet.test.test_lansharing -*-
"""
What the user of a node has chosen of the LANs of one network: those that it shares, and those that it uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from vnet.errors import Refused
from vnet.protocols import control
from vnet.protocols.codec.prefix import parsePrefix

__all__ = ["NONE", "Choices", "choicesFrom"]

_KEY = 32


@frozen
class Choices:
    """
    The choices, in the order in which they were made.

    @ivar offered: prefixes that this node offers.
    @ivar used: those that it uses, each with the key of the member that offers it, in hexadecimal.
    """

    offered: tuple[str, ...] = ()
    used: tuple[tuple[str, str], ...] = ()

    def offering(self, prefix: str, isOffered: bool) -> Choices:
        """
        @return: the choices with an offer, or without it.
        @raise Refused: there are too many.
        """
        others = tuple(each for each in self.offered if each != prefix)
        _check(others, control.MAXIMUM_OFFERS)
        return evolve(self, offered=(*others, prefix) if isOffered else others)

    def using(self, key: bytes, prefix: str, isUsed: bool) -> Choices:
        """
        @return: the choices with the use of what a member offers, or without it.
        @raise Refused: there are too many.
        """
        others = tuple(each for each in self.used if each != (key.hex(), prefix))
        _check(others, control.MAXIMUM_NETWORK_OFFERS)
        return evolve(self, used=(*others, (key.hex(), prefix)) if isUsed else others)

    def uses(self, key: bytes, prefix: str) -> bool:
        """
        Whether this was chosen.
        """
        return (key.hex(), prefix) in self.used


NONE = Choices()


def _check(others: tuple[Any, ...], limit: int) -> None:
    if len(others) >= limit:
        raise Refused(f"there are {limit} such prefixes already: take one back")


def choicesFrom(raw: Mapping[str, Iterable[Any]]) -> Choices:
    """
    Read the choices as L{attrs.asdict} wrote them.

    @raise ValueError: they are none; or another error of L{vnet.client.state}.
    """
    return Choices(
        tuple(str(parsePrefix(prefix)) for prefix in raw["offered"]),
        tuple((_key(key), str(parsePrefix(prefix))) for key, prefix in raw["used"]),
    )


def _key(text: str) -> str:
    key = bytes.fromhex(text)
    if len(key) != _KEY:
        raise ValueError("a length is wrong")
    return key.hex()

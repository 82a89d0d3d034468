# -*- test-case-name: vnet.test.test_nonip -*-
"""
Which protocols beside IP pass in a network: what a user has chosen for it.
"""

from __future__ import annotations

from attrs import evolve, frozen

from vnet.errors import DecodeError
from vnet.protocols.codec.llc import formatTypes, parseTypes

__all__ = ["DEFAULT", "Choice", "changed"]


@frozen
class Choice:
    """
    The choice for one network.

    @ivar isOn: whether any pass.
    @ivar etherTypes: the list that passes, as L{parseTypes} reads it; L{None}: that of the node.
    """

    isOn: bool = True
    etherTypes: str | None = None

    def types(self, default: frozenset[int]) -> frozenset[int]:
        """
        @param default: the node's list.
        @return: the protocols that pass.
        """
        if not self.isOn:
            return frozenset()
        return default if self.etherTypes is None else parseTypes(self.etherTypes)


DEFAULT = Choice()


def changed(choice: Choice, nonIp: str | None, etherTypes: str | None) -> Choice:
    """
    @param nonIp: C{on}, C{off}, or L{None}: as it is.
    @param etherTypes: a list, C{default}, or L{None}: as it is.
    @raise DecodeError: it is something else; one line says what would be right.
    """
    if nonIp not in (None, "on", "off"):
        raise DecodeError("protocols beside IP are on or off")
    if nonIp is not None:
        choice = evolve(choice, isOn=nonIp == "on")
    if etherTypes is not None:
        chosen = None if etherTypes == "default" else formatTypes(parseTypes(etherTypes))
        choice = evolve(choice, etherTypes=chosen)
    return choice

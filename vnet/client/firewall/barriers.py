# -*- test-case-name: vnet.test.test_lanroutes -*-
"""
Looks whether other firewalls on this computer drop what it forwards for the LANs that it shares.  They are read, and left as they
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.client.firewall.nft import Nft, NftError
from vnet.protocols.codec.prefix import Prefix

if TYPE_CHECKING:
    from vnet.client.firewall.barrier import Barrier
    from vnet.client.firewall.passage import OtherTable

__all__ = ["REST", "Barriers"]

REST = 1.0
"""Seconds between two looks, at least: a program may change rule after rule."""

# What a look depends on: the interfaces of each LAN, and the blocks of the members' addresses.
_Places = Mapping[str, tuple[str, ...]]


@define(eq=False, repr=False)
class Barriers:
    """
    What is in the way of the LANs that are shared.

    @ivar _interface: the virtual one.
    @ivar found: by prefix, what drops most of what goes there, or the answers; none for those that are free, as far as is known.
    """

    _clock: IReactorTime
    _interface: str
    _nft: Nft | None
    _log: Logger = field(factory=Logger)
    found: Mapping[str, Barrier] = field(factory=dict, init=False)
    _looked: tuple[_Places, tuple[Prefix, ...]] | None = field(default=None, init=False)
    _lookedAt: float = field(default=0.0, init=False)

    def stale(self) -> float | None:
        """
        Rules have changed.

        @return: after how many seconds to look again; L{None}: nothing is shared.
        """
        if self._looked is None:
            return None
        self._looked = ({}, ())
        return max(0.0, self._lookedAt + REST - self._clock.seconds())

    async def look(self, places: _Places, overlay: Iterable[Prefix]) -> None:
        """
        See what is in the way now, if anything may have changed.

        @param places: the interfaces behind which each prefix is.
        @param overlay: the blocks of the members' addresses.
        """
        wanted = (dict(places), tuple(overlay))
        if self._nft is None or not places:
            self._looked, self.found = None, {}
        elif wanted != self._looked:
            # What changes from here on is another change.
            self._looked, self._lookedAt = wanted, self._clock.seconds()
            try:
                tables = await self._nft.others(self._interface)
            except NftError as error:
                self._log.debug(
                    "whether other firewalls drop what is forwarded is not known: {error}", error=error
                )
                self._looked, self.found = ({}, ()), {}
                return
            before, self.found = self.found, dict(self._barriers(tables, *wanted))
            for prefix, barrier in self.found.items():
                if before.get(prefix) != barrier:
                    self._log.warn("{prefix} is shared, but {why}", prefix=prefix, why=barrier.why)

    def help(self, prefix: str) -> list[str]:
        """
        @return: the commands that let a prefix through for which something was found.
        """
        return self.found[prefix].help(self._interface, prefix)

    def _barriers(
        self, tables: Sequence[OtherTable], places: _Places, overlay: Iterable[Prefix]
    ) -> Iterator[tuple[str, Barrier]]:
        # In memory only where a LAN is shared.
        from vnet.client.firewall.passage import Passage, barrierTo

        virtual = self._interface
        for prefix, interfaces in places.items():
            lan, passages = ip_network(prefix), []
            for block in (each for each in overlay if each.version == lan.version):
                for interface in interfaces:
                    passages.append(Passage(virtual, virtual, interface, block, lan, "new"))
                    passages.append(Passage(virtual, interface, virtual, lan, block, "established"))
            if (barrier := barrierTo(tables, passages)) is not None:
                yield prefix, barrier

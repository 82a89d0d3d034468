# -*- test-case-name: vnet.test.test_stunplaces -*-
"""
The STUN server of a mediator that is no relay.
"""

from __future__ import annotations

import errno
from typing import Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from vnet.linkwatcher import LinkWatcher
from vnet.protocols.machine.stunorigins import Origins
from vnet.protocols.stun import StunServer
from vnet.server.everyaddress import EveryAddress, ownAddresses
from vnet.server.outward import outwardAddresses
from vnet.values import Address

__all__ = ["StunSockets"]

_LONGEST = 2048


@define(eq=False)
class StunSockets:
    """
    Its sockets, see L{vnet.server.stunplaces.StunHost}.
    """

    _reactor: Any
    _server: StunServer = field(init=False)
    _ports: dict[Address, Any] = field(factory=dict, init=False)
    _everywhere: EveryAddress = field(init=False)
    _watcher: LinkWatcher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = StunServer(self._reactor)
        self._everywhere = EveryAddress(self.origins, self._bind, self._close)
        self._watcher = LinkWatcher(self._reactor, self._changed)

    @property
    def origins(self) -> Origins[Any]:
        """
        The sockets that are open.
        """
        return self._server.origins

    def listenUdp(self, host: str, port: int) -> int:
        """
        See L{vnet.server.stunplaces.StunHost.listenUdp}.
        """
        if host:
            return self._bind(host, port)
        found = [each.address for each in ownAddresses()]
        if found:
            first = next(iter(outwardAddresses().values()), found[0])
            return self._everywhere.listen(first, found, port)
        try:
            return self._bind("::", port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            return self._bind("0.0.0.0", port)

    def _bind(self, host: str, port: int) -> int:
        try:
            opened = self._reactor.listenUDP(port, self._server.sibling(), host, _LONGEST)
        except CannotListenError as error:
            failed = error.socketError
            raise failed if isinstance(failed, OSError) else OSError(0, str(failed)) from error
        taken = int(opened.getHost().port)
        self._ports[Address(host, taken)] = opened
        return taken

    def _close(self, address: Address) -> None:
        self._ports.pop(address).stopListening()

    def _changed(self) -> None:
        found = [each.address for each in ownAddresses()]
        if found:
            self._everywhere.follow(found)

    def start(self) -> None:
        """
        Follow the addresses of this host.
        """
        if self._everywhere:
            self._watcher.start()

    async def stop(self) -> None:
        """
        Serve no more.
        """
        self._watcher.stop()
        for port in self._ports.values():
            await maybeDeferred(port.stopListening)
        self._ports.clear()

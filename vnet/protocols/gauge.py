# -*- test-case-name: vnet.test.test_punch -*-
"""
Finds out for one attempt how long the datagrams may be that its path carries whole.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.driver import Driver
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.pathmtu import PathMtu, Resized
from vnet.values import Address

__all__ = ["Gauge"]


@define(eq=False, repr=False)
class Gauge:
    """
    The machine of one attempt, driven.

    @ivar _send: sends a datagram whole, see L{vnet.interfaces.IDatagramPort.sendWhole}.
    @ivar _changed: called when L{size} or L{isSettled} has changed.
    """

    _machine: PathMtu
    _clock: IReactorTime
    _send: Callable[[bytes, Address], bool]
    _changed: Callable[[], None]
    _driver: Driver[Resized] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._driver = Driver(self._machine, self._clock, self._sendAll, lambda event: self._changed())

    @property
    def size(self) -> int:
        """
        Bytes of a datagram, as far as is known.
        """
        return self._machine.size

    @property
    def isSettled(self) -> bool:
        """
        Whether nothing larger is being looked for.
        """
        return self._machine.isSettled

    def _sendAll(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, addr in batch:
            if not self._send(data, addr):
                self._machine.refused(data[8:20], self._clock.seconds())

    def select(self, path: Path | None) -> None:
        """
        This path is used from now on.
        """
        address, rtt = (None, 0.0) if path is None else (path.address, path.rtt)
        self._machine.select(address, rtt, self._clock.seconds())
        self._driver.wake()

    def restart(self) -> None:
        """
        The network has changed.
        """
        self._machine.restart(self._clock.seconds())
        self._driver.wake()

    def noteTraffic(self) -> None:
        """
        The path carries traffic.
        """
        if self._machine.noteTraffic(self._clock.seconds()):
            self._driver.wake()

    def doubt(self) -> None:
        """
        What is sent gets no answer.
        """
        if self._machine.doubt(self._clock.seconds()):
            self._driver.wake()

    def takes(self, data: bytes, addr: Address) -> bool:
        """
        Take an answer, if it is one for this.
        """
        if not self._machine.expects(data[8:20]):
            return False
        self._driver.datagramReceived(data, addr)
        return True

    def close(self) -> None:
        """
        Ask no more.
        """
        self._driver.stop()

# -*- test-case-name: vnet.test.test_sampling -*-
"""
Ask a STUN server once through each of several sockets: what mapping does each have?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import MAPPED_ADDRESS, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.machine.transaction import Transaction, Transactions
from vnet.values import Address

__all__ = ["Sampler"]

_RTO, _SENDS, _LAST = 0.25, 3, 4


@define(eq=False, repr=False)
class _Asking:
    """
    @ivar waiting: whose answer is missing; C{found} the answers so far.
    """

    done: Callable[[dict[str, Address]], None]
    waiting: dict[Transaction, str] = field(factory=dict)
    found: dict[str, Address] = field(factory=dict)


@define(eq=False, repr=False)
class Sampler:
    """
    Implements L{vnet.protocols.punch.Asker}.
    """

    _clock: IReactorTime
    _send: Callable[[list[tuple[bytes, Address]]], None]
    _random: Callable[[int], bytes]
    _transactions: Transactions = field(init=False)
    _askings: list[_Asking] = field(factory=list, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._transactions = Transactions(random=self._random, rto=_RTO, rc=_SENDS, rm=_LAST)

    def ask(
        self, server: Address, names: Sequence[str], done: Callable[[dict[str, Address]], None]
    ) -> Callable[[], None]:
        """
        Ask now, in this order.

        @param names: the spare sockets, as C{via} of addresses.
        @param done: called once, later, with the address that the server sees of each; of those that got no answer in
            1.75 seconds there is none.
        @return: what cancels it.
        """
        asking = _Asking(done)
        now = self._clock.seconds()
        for name in names:
            server = Address(server.host, server.port, name)
            asking.waiting[self._transactions.start(server, _request, now)] = name
            self._flush()
        self._askings.append(asking)
        self._arm()

        def cancel() -> None:
            if asking in self._askings:
                self._askings.remove(asking)
                for transaction in asking.waiting:
                    self._transactions.finish(transaction)
                self._arm()

        return cancel

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """See L{vnet.protocols.punch.Asker.expects}."""
        return self._transactions.find(transactionId, addr) is not None

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """See L{vnet.protocols.punch.Asker.datagramReceived}."""
        try:
            message = decode(data)
        except DecodeError:
            return
        transaction = self._transactions.find(message.transactionId, addr)
        if transaction is None or message.method != BINDING or message.klass is not Class.SUCCESS:
            return
        mapped = message.get(XOR_MAPPED_ADDRESS) or message.get(MAPPED_ADDRESS)
        if mapped is not None and checkable(mapped) and (":" in mapped.host) == (":" in addr.host):
            self._transactions.finish(transaction)
            self._over(transaction, mapped)
            self._arm()

    def close(self) -> None:
        """
        Ask nothing any more; nobody is told.
        """
        self._askings.clear()
        self._transactions.clear()
        self._arm()

    def _over(self, transaction: Transaction, mapped: Address | None) -> None:
        asking = next((each for each in self._askings if transaction in each.waiting), None)
        if asking is None:
            return
        name = asking.waiting.pop(transaction)
        if mapped is not None:
            asking.found[name] = mapped
        if not asking.waiting:
            self._askings.remove(asking)
            asking.done(asking.found)

    def _flush(self) -> None:
        datagrams = self._transactions.datagramsToSend()
        if datagrams:
            self._send(datagrams)

    def _arm(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        deadline = self._transactions.deadline()
        if deadline is not None:
            self._call = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._fired)

    def _fired(self) -> None:
        self._call = None
        for transaction in self._transactions.timerFired(self._clock.seconds()):
            self._over(transaction, None)
        self._flush()
        self._arm()


def _request(transactionId: bytes) -> bytes:
    return encode(Message(BINDING, Class.REQUEST, transactionId))

# -*- test-case-name: vnet.test.test_lanpriority -*-
"""
Limited broadcast by the virtual interface, too: C{--lan-priority}.

What a program sends to 255.255.255.255 and binds to no interface Linux sends by that of the default route.  A rule of nftables has
the kernel send a copy by ours, with our address as the source, so that answers find their way; routes stay as they are.

The rules are in a table of our own that belongs to a running C{nft} (C{flags owner}).  That ends when this program does, however
it ends, since its standard input does; and the kernel removes the table then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from attrs import define, field
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from vnet.client.calls import Calls
from vnet.client.firewall.nft import MISSING, findNft
from vnet.protocols.codec.names import displayable

__all__ = ["LanPriority", "ruleset"]

_AGAIN = 10.0
_WIDE = 200
_MAXIMUM_ERRORS = 4096


def ruleset(interface: str, address: str) -> bytes:
    """
    @param interface: letters, digits, C{.}, C{_} and C{-}.
    @param address: ours on it, IPv4.
    @return: the lines for C{nft} that make the table, and show it.
    """
    own = IPv4Address(address)
    everybody = "ip daddr 255.255.255.255"
    # DHCP is about the other interface alone.
    copy = f'{everybody} udp dport != {{ 67, 68 }} oifname != {{ "{interface}", "lo" }}'
    copy += f' dup to 255.255.255.255 device "{interface}"'
    rewrite = f'oifname "{interface}" {everybody} ip saddr != {own} ip saddr set {own}'
    return (
        f"table ip vnet-lan-{interface} {{ flags owner; "
        f"chain output {{ type filter hook output priority mangle; policy accept; {copy}; }}; "
        f"chain postrouting {{ type filter hook postrouting priority srcnat + 10; policy accept; {rewrite}; }}; "
        "}\n"
        f"list table ip vnet-lan-{interface}\n"
    ).encode("ascii")


class _Keeper(ProcessProtocol):
    """
    The C{nft} that owns the table.
    """

    def __init__(
        self, script: bytes, shown: Callable[[], None], ended: Callable[[_Keeper, str], None]
    ) -> None:
        """
        @param shown: called when the table is there.
        """
        self._script = script
        self._shown = shown
        self._ended = ended
        self._errors = b""
        self.wasReleased = False

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.write(self._script)

    def outReceived(self, data: bytes) -> None:
        self._shown()

    def errReceived(self, data: bytes) -> None:
        self._errors = (self._errors + data)[:_MAXIMUM_ERRORS]
        # It goes on after an error, without the table.
        self._close()

    def release(self) -> None:
        """
        Let the table go.
        """
        self.wasReleased = True
        self._close()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.closeStdin()

    def processEnded(self, reason: Failure) -> None:
        lines = [line for line in self._errors.decode(errors="replace").splitlines() if line.strip()]
        self._ended(self, displayable(lines[0], _WIDE) if lines else "nft has ended")


@define(eq=False, repr=False)
class LanPriority:
    """
    Keeps the rules while it runs.

    @ivar _interface: the name of the virtual one.
    @ivar _locate: gives the path of C{nft}; L{None}: it is not installed.
    @ivar problem: why there are no rules, one line; empty: there are.
    """

    _log = Logger()

    _reactor: Any
    _interface: str
    _locate: Callable[[], str | None] = findNft
    problem: str = field(default="", init=False)
    _address: str | None = field(default=None, init=False)
    _keeper: _Keeper | None = field(default=None, init=False)
    _calls: Calls = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = Calls(self._reactor)

    def configured(self, address: str) -> None:
        """
        This is our IPv4 address on the interface, which is up.
        """
        if address != self._address:
            self._address = address
            if self._keeper is None:
                self._start()
            else:
                # Its end starts the next.
                self._keeper.release()

    def stop(self) -> None:
        """
        Let the rules go.
        """
        self._address = None
        self._calls.cancelAll()
        if self._keeper is not None:
            self._keeper.release()

    def _start(self) -> None:
        address, program = self._address, self._locate()
        if address is None or self._keeper is not None:
            return
        if program is None:
            self._fail(MISSING)
            return
        self._keeper = _Keeper(ruleset(self._interface, address), self._made, self._ended)
        # Its errors are one line that begins with "Error".
        environment = {**os.environ, "LC_ALL": "C"}
        self._reactor.spawnProcess(self._keeper, program, ["nft", "-i"], environment)

    def _made(self) -> None:
        self.problem = ""

    def _ended(self, keeper: _Keeper, why: str) -> None:
        self._keeper = None
        if self._address is None:
            return
        if keeper.wasReleased:
            self._start()
        else:
            self._fail(why)

    def _fail(self, why: str) -> None:
        if why != self.problem:
            self._log.warn("limited broadcast does not reach {name}: {why}", name=self._interface, why=why)
        self.problem = why
        self._calls.later("again", _AGAIN, self._start)

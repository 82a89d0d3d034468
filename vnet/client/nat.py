# -*- test-case-name: vnet.test.test_client_nat -*-
"""
What this node knows of the NAT in front of it.

Addresses come from the puncher, which always asks; what the NAT does is found out by a discovery when the network, the servers
or the public host have changed::

    setLocal, setServers, mappingsChanged --> BehaviourDiscovery --> findings --+
                                              Puncher --> reflexive ------------+--> NatReport
                                              learnLifetime, learnRouter -------+
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from vnet.client.calls import Calls
from vnet.client.dataplane.sockets import SpareSockets
from vnet.driver import Driver
from vnet.protocols.machine.natbehaviour import ENDPOINT_INDEPENDENT, isShared
from vnet.protocols.machine.natdiscovery import (
    BehaviourDiscovery,
    DiscoveryEvent,
    Findings,
    Found,
    SocketsFree,
    SocketsWanted,
)
from vnet.protocols.punch import Puncher
from vnet.values import Address, NatReport

__all__ = ["INTERVAL", "NatDiscovery"]

INTERVAL = 2.0
"""Seconds from the beginning of one discovery to that of the next, at least."""

_MOST_HOSTS = 64
_MOST_OTHERS = 2


@define(eq=False, repr=False)
class NatDiscovery:
    """
    Tells the puncher where this computer is, and finds out what the NAT does.  Implements L{vnet.protocols.punch.Asker}.

    @ivar _send: sends datagrams, also through spare sockets.
    @ivar _random: returns so many unpredictable bytes.
    @ivar _sockets: of this node; L{None}: there are none, and less is found out.
    @ivar _accepts: whether something may be sent to an address that a server names.
    @ivar onReport: called with the report when it has changed.
    """

    _clock: IReactorTime
    _puncher: Puncher
    _send: Callable[[list[tuple[bytes, Address]]], None]
    _random: Callable[[int], bytes]
    _sockets: SpareSockets | None
    _accepts: Callable[[Address], bool]
    onReport: Callable[[NatReport], None] = field(default=lambda report: None)
    _hosts: tuple[str, ...] = field(default=(), init=False)
    _servers: tuple[Address, ...] = field(default=(), init=False)
    _others: tuple[Address, ...] = field(default=(), init=False)
    _asked: list[Address] = field(factory=list, init=False)
    _startedAt: float = field(default=float("-inf"), init=False)
    _calls: Calls = field(init=False)
    _machine: BehaviourDiscovery | None = field(default=None, init=False)
    _driver: Driver[DiscoveryEvent] | None = field(default=None, init=False)
    _open: tuple[str, ...] = field(default=(), init=False)
    _findings: Findings = field(factory=Findings, init=False)
    _seen: set[str] = field(factory=set, init=False)
    _lifetime: float | None = field(default=None, init=False)
    _router: str | None = field(default=None, init=False)
    _told: NatReport = field(factory=NatReport, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = Calls(self._clock)
        self._puncher.askers.append(self)

    def setLocal(self, hosts: Sequence[str], port: int) -> None:
        """
        See L{Puncher.setLocal}.
        """
        before, now = _routable(self._hosts), _routable(hosts)
        self._hosts = tuple(hosts)
        self._puncher.setLocal(hosts, port)
        if before - now or not before:
            # What is known is of another network.  With one more address it may be, which is seen soon.
            self._findings, self._lifetime, self._router = Findings(), None, None
            self._seen.clear()
        if before != now:
            self._restart()
            self._tell()

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        See L{Puncher.setServers}.  Of each host the first one is kept mapped: behind an APD mapping each server that is makes one
        more reflexive candidate, which helps nobody.
        """
        changed = tuple(servers) != self._servers
        self._servers = tuple(servers)
        kept: dict[str, Address] = {}
        for each in servers:
            kept.setdefault(each.host, each)
        self._puncher.setServers(tuple(kept.values()))
        if changed:
            self._restart()

    def learnServers(self, servers: Sequence[Address]) -> None:
        """
        These answer, too: they are asked where the others, all at one address, cannot tell how the mapping depends on it.
        """
        self._others = tuple(each for each in servers if ":" not in each.host)[:_MOST_OTHERS]
        self._lookFurther()

    def mappingsChanged(self) -> None:
        """
        The puncher knows other addresses of this node.
        """
        new = {each.host for each in self._puncher.reflexive if ":" not in each.host} - self._seen
        if new:
            self._remember(new)
            if self._driver is None:
                self._restart()
        self._tell()

    def learnLifetime(self, seconds: float | None) -> None:
        """
        For so long an idle mapping is known to live.
        """
        self._lifetime = seconds
        self._tell()

    def learnRouter(self, host: str | None) -> None:
        """
        This external address the router names that maps ports for us.
        """
        self._router = host
        self._tell()

    def whenSettled(self, timeout: float) -> Deferred[None]:
        """
        @return: fires when no discovery is under way, or after C{timeout} seconds.
        """
        if self._driver is None and "start" not in self._calls:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)

        def over() -> None:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                waiting.callback(None)

        call = self._clock.callLater(timeout, over)

        def done(result: None) -> None:
            if call.active():
                call.cancel()

        return waiting.addCallback(done)

    def close(self) -> None:
        """
        Find out nothing any more.
        """
        self._calls.cancelAll()
        self._stop()
        self._settle()

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        See L{vnet.protocols.punch.Asker.expects}.
        """
        return self._machine is not None and self._machine.expects(transactionId, addr)

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """
        See L{vnet.protocols.punch.Asker.datagramReceived}.
        """
        if self._driver is not None:
            self._driver.datagramReceived(data, addr)

    def report(self) -> NatReport:
        """
        @return: what is known now.
        """
        found = self._findings
        seen, seen6 = self._seenBy(4), self._seenBy(6)
        natted = seen[0].host not in self._hosts if seen else None
        allocation = found.allocation if natted else None
        hosts = tuple(host for host in found.hosts if ":" not in host) or tuple(
            each.host for each in seen[:1]
        )
        ports = allocation.ports if allocation else None
        return NatReport(
            udp=self._udp(),
            publicAddress=seen[0] if seen else None,
            publicAddress6=seen6[0] if seen6 else None,
            natted=natted,
            mappingVaries=self._varies(len(seen)),
            mapping=found.mapping,
            filtering=found.filtering,
            allocation=allocation.kind if allocation else None,
            step=allocation.step if allocation else None,
            noise=allocation.noise if allocation else None,
            ports=ports,
            hosts=hosts,
            hairpin=found.hairpin,
            lifetime=self._lifetime,
            shared=isShared(natted, self._hosts, hosts, ports, self._router),
        )

    def _seenBy(self, version: int) -> list[Address]:
        """
        The external addresses, the puncher's first: they are kept known.
        """
        found = self._findings.public
        both = dict.fromkeys((*self._puncher.reflexive, *((found,) if found else ())))
        return [each for each in both if (":" in each.host) == (version == 6)]

    def _udp(self) -> bool | None:
        if self._findings.answered is None and self._puncher.reflexive:
            return True
        # IPv6 may get out where IPv4 does not.
        if any(":" in each.host and each.host in self._hosts for each in self._puncher.reflexive):
            return True
        return self._findings.answered

    def _varies(self, addresses: int) -> bool | None:
        found = self._findings
        if found.mapping is not None:
            return found.mapping != ENDPOINT_INDEPENDENT
        if addresses > 1:
            return True
        return found.mappingVaries

    # Discoveries.

    def _family(self) -> list[Address]:
        """
        The servers that are asked: those for IPv4, which has the NATs, if there are any and this computer has IPv4.
        """
        ipv6 = [each for each in self._servers if ":" in each.host]
        if ipv6 and self._hosts and all(":" in host for host in self._hosts):
            return ipv6
        ipv4 = [each for each in self._servers if ":" not in each.host]
        hosts = {each.host for each in ipv4}
        if len(hosts) == 1:
            ipv4 += [each for each in self._others if each.host not in hosts]
        return ipv4 or list(self._servers)

    def _lookFurther(self) -> None:
        found = self._findings
        if found.complete and found.answered and found.mapping is None and self._family() != self._asked:
            self._restart()

    def _restart(self) -> None:
        self._stop()
        if not self._servers:
            self._calls.cancel("start")
            self._settle()
            return
        self._calls.later("start", max(0.0, self._startedAt + INTERVAL - self._clock.seconds()), self._start)

    def _start(self) -> None:
        self._startedAt = now = self._clock.seconds()
        self._asked = self._family()
        machine = BehaviourDiscovery(
            self._asked, self._hosts, random=self._random, accepts=self._accepts, now=now
        )
        self._machine = machine
        self._driver = Driver(machine, self._clock, self._send, lambda event: self._happened(machine, event))
        self._driver.wake()

    def _stop(self) -> None:
        driver, self._driver, self._machine = self._driver, None, None
        if driver is not None:
            driver.stop()
        self._release(self._open)

    def _happened(self, machine: BehaviourDiscovery, event: DiscoveryEvent) -> None:
        if machine is not self._machine:
            return
        if isinstance(event, SocketsWanted):
            self._open = () if self._sockets is None else self._sockets.open(event.count)
            machine.useSockets([(name, self._portOf(name)) for name in self._open], self._clock.seconds())
        elif isinstance(event, SocketsFree):
            self._release(event.names)
        elif isinstance(event, Found):
            self._found(event.findings)

    def _found(self, findings: Findings) -> None:
        self._remember([host for host in findings.hosts if ":" not in host])
        # While a discovery goes on, what the one before has found in the same network is better than a part.
        if findings.complete or not self._findings.complete:
            self._findings = findings
        if findings.complete:
            self._stop()
            self._settle()
            self._lookFurther()
        self._tell()

    def _portOf(self, name: str) -> int:
        return 0 if self._sockets is None else self._sockets.portOf(name)

    def _release(self, names: Sequence[str]) -> None:
        self._open = tuple(name for name in self._open if name not in names)
        if self._sockets is not None:
            self._sockets.close(names)

    def _remember(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            if len(self._seen) < _MOST_HOSTS:
                self._seen.add(host)

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _tell(self) -> None:
        report = self.report()
        if report != self._told:
            self._told = report
            self.onReport(report)


def _routable(hosts: Iterable[str]) -> set[str]:
    """
    Without those of IPv6 that mean something on one link only, and come and go with each.
    """
    return {host for host in hosts if not host.startswith("fe80:")}

# -*- test-case-name: vnet.test.test_mediatortap -*-
"""
The mediator as a service: its state, its database, its ports, and its end.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from attrs import define, field, frozen
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from twisted.python.usage import Options

from vnet.errors import ConfigurationError, StateError
from vnet.fatal import startConditions
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlserver import ControlServerFactory
from vnet.protocols.stun import StunServer
from vnet.protocols.tls import exportedKey, localSpkiHash, serverOptions, spkiHash
from vnet.server.addresses import Pool
from vnet.server.certificate import loadIdentity
from vnet.server.listening import Listener, isAuthoritys
from vnet.server.mediator import Mediator, Offer
from vnet.server.store.schema import cause, openDatabase
from vnet.server.store.worker import Store, threaded
from vnet.server.tickets import Tickets
from vnet.statedir import StateDirectory
from vnet.values import Address

__all__ = ["Configuration", "MediatorService"]

_EXPIRY_INTERVAL = 3600.0


@frozen
class Configuration:
    """
    What the operator chose.

    @ivar host: what goes into the URL; empty: guess.
    @ivar stun: where STUN is served and what nodes are told; C{host} empty means all addresses of this host,
        and to nodes
        the host of the mediator.
    """

    state: StateDirectory
    host: str
    listen: str
    stun: tuple[Address, ...]
    pool: Pool
    database: URL
    tickets: Tickets | None


@define(eq=False)
class MediatorService(Service):
    """
    Runs a L{Mediator}.

    @ivar url: what nodes log in to, once it is started.
    """

    _log = Logger()

    _reactor: Any
    _configuration: Configuration
    _options: Options
    url: MediatorUrl | None = field(default=None, init=False)
    factory: ControlServerFactory | None = field(default=None, init=False)
    _mediator: Mediator | None = field(default=None, init=False)
    _store: Store | None = field(default=None, init=False)
    _pool: ThreadPool | None = field(default=None, init=False)
    _listener: Listener | None = field(default=None, init=False)
    _stun: list[Any] = field(factory=list, init=False)
    _expiry: LoopingCall | None = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        """
        Open everything.  What is wrong ends the process with one line.
        """
        super().privilegedStartService()
        with startConditions(self._options):
            self._open()

    def startService(self) -> None:
        """
        Begin.
        """
        super().startService()
        if self._mediator is None:
            # Under twist, which has no privileged start.
            self.privilegedStartService()
        if self._pool is not None:
            self._pool.start()
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = self._reactor
        self._expiry.start(_EXPIRY_INTERVAL, now=False)
        self._log.info("the mediator is {url}", url=self.url)

    def _expire(self) -> None:
        if self._mediator is not None:
            self._mediator.expire()
        if self.factory is not None and (self.factory.counters or self.factory.admission.refused):
            # What strangers do wrong is worth one line an hour.
            refused, self.factory.admission.refused = self.factory.admission.refused, 0
            self._log.info(
                "connections dropped in the last hour: {counters}; turned away: {refused}",
                counters=dict(self.factory.counters),
                refused=refused,
            )
            self.factory.counters.clear()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, finish what is being stored, and close.
        """
        super().stopService()
        if self._expiry is not None and self._expiry.running:
            self._expiry.stop()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._mediator is not None:
            self._mediator.stop()
        if self._listener is not None:
            await self._listener.stop()
        for port in self._stun:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        if self._pool is not None and self._pool.started:
            # Waits for the transaction that is running.
            self._pool.stop()
        if self._store is not None:
            self._store.close()
        self._configuration.state.close()

    def _open(self) -> None:
        _raiseFileLimit()
        chosen = self._configuration
        chosen.state.open()
        host = chosen.host or _guessHost()
        identity = loadIdentity(chosen.state, host)
        self._openStore()
        self._openStun()
        mediator = self._openMediator()
        self.factory = ControlServerFactory(mediator, self._reactor, _identify)
        own = serverOptions(identity.key, identity.certificate)
        self._listener = Listener(self._reactor, chosen.listen, self.factory, own)
        address = self._listener.listen()
        pin = None if isAuthoritys(chosen.listen) else spkiHash(identity.certificate)
        self.url = MediatorUrl(host, getattr(address, "port", 7443), pin)
        chosen.state.write("url", f"{self.url}\n".encode())

    def _openStore(self) -> None:
        engine = openDatabase(self._configuration.database)
        submit, self._pool = threaded(self._reactor)
        self._store = Store(engine, submit)

    def _openMediator(self) -> Mediator:
        if self._store is None:
            raise ConfigurationError("the database is not open")
        advertised = tuple(self._advertised())
        tickets = () if self._configuration.tickets is None else (self._configuration.tickets,)
        offer = Offer(self._configuration.pool, advertised, tickets)
        mediator = Mediator(self._reactor, self._store, offer)
        try:
            self._store.runNow(mediator.load)
        except (SQLAlchemyError, ValueError, TypeError, LookupError) as error:
            raise StateError(
                f"the database {self._configuration.database.render_as_string(hide_password=True)} is damaged "
                f"({cause(error)}); nothing was changed: restore a backup"
            ) from error
        self._mediator = mediator
        return mediator

    def _openStun(self) -> None:
        for address in self._configuration.stun:
            self._stun.append(self._bindStun(address))

    def _bindStun(self, address: Address) -> Any:
        # One socket for both families where IPv6 exists: IPv4 sources are mapped.
        hosts = [address.host] if address.host else ["::", "0.0.0.0"]
        for host in hosts:
            try:
                return self._reactor.listenUDP(address.port, StunServer(self._reactor), host, 2048)
            except CannotListenError as error:
                code = getattr(error.socketError, "errno", None)
                text = getattr(error.socketError, "strerror", None) or str(error.socketError)
                if code == errno.EADDRINUSE:
                    text = "the port is in use by another program: choose another with --stun=:PORT"
                if host != "::" or code == errno.EADDRINUSE:
                    raise ConfigurationError(f"--stun: cannot serve STUN on {address}/udp: {text}") from error
        raise ConfigurationError(f"--stun: cannot serve STUN on {address}/udp")

    def _advertised(self) -> Iterator[str]:
        for address, port in zip(self._configuration.stun, self._stun, strict=True):
            yield str(Address(address.host, port.getHost().port))


def _identify(transport: Any) -> tuple[bytes, bytes]:
    return localSpkiHash(transport), exportedKey(transport)


def _raiseFileLimit() -> None:
    """
    Each node is an open file: take as many as this process may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _guessHost() -> str:
    """
    @return: the address from which this host reaches the Internet (nothing is sent), or its name.
    """
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            host = str(probe.getsockname()[0]).partition("%")[0]
            if not ip_address(host).is_unspecified:
                return host
    return socket.gethostname().lower() or "localhost"

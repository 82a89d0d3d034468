# -*- test-case-name: vnet.test.test_mediatortap -*-
"""
The mediator as a service: its state, its database, its ports, and its end.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
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
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlserver import ControlServerFactory
from vnet.protocols.machine.relaycredentials import SharedSecrets
from vnet.protocols.tls import ServerCreator, exportedKey, localSpkiHash, serverOptions, spkiHash
from vnet.server.addresses import Pool
from vnet.server.certificate import loadIdentity
from vnet.server.everyaddress import ownAddresses
from vnet.server.filelimit import raiseFileLimit
from vnet.server.listening import Listener, isAuthoritys
from vnet.server.mediator import Mediator, Offer
from vnet.server.outward import guessHost, outwardAddresses
from vnet.server.relaysecrets import makeSecret, readSecrets
from vnet.server.relayserver import RelayChoice, RelayServer
from vnet.server.sharedport import SharedPort
from vnet.server.store.schema import cause, openDatabase
from vnet.server.store.worker import Store, threaded
from vnet.server.stunplaces import ADVERTISED, StunHost, StunPlaces, publicPairs, serveSecond
from vnet.server.stunsockets import StunSockets
from vnet.server.tickets import Tickets
from vnet.statedir import StateDirectory
from vnet.values import Address

__all__ = ["Configuration", "MediatorService"]

_EXPIRY_INTERVAL = 3600.0
_RELAY_SECRET = "relay-secret"
_HTTPS = 443


@frozen
class Configuration:
    """
    What the operator chose.

    @ivar host: what goes into the URL; empty: guess.
    @ivar listen: endpoints; the URL has the port of the first.
    @ivar stun: where STUN is served and what nodes are told; C{host} empty means all addresses of this host,
        and to nodes the host of the mediator.
    @ivar tickets: makes credentials for relays elsewhere.
    @ivar relay: a relay in this process; L{None}: none.
    @ivar relayService: the class of service of nodes on it.
    """

    state: StateDirectory
    host: str
    listen: tuple[str, ...]
    stun: tuple[Address, ...]
    pool: Pool
    database: URL
    tickets: Tickets | None
    relay: RelayChoice | None = None
    relayService: str = "high"


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
    _listeners: list[Listener] = field(factory=list, init=False)
    _stun: StunSockets | None = field(default=None, init=False)
    _stunPorts: list[int] = field(factory=list, init=False)
    _stunPlaces: StunPlaces = field(default=StunPlaces((), ()), init=False)
    _turn: list[Any] = field(factory=list, init=False)
    _relay: RelayServer | None = field(default=None, init=False)
    _relayUris: list[str] = field(factory=list, init=False)
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
        if self._relay is not None:
            with startConditions(self._options):
                self._relay.start()
        if self._stun is not None:
            with startConditions(self._options):
                self._stun.start()
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = self._reactor
        self._expiry.start(_EXPIRY_INTERVAL, now=False)
        for line in self._stunPlaces.lines:
            self._log.info("{line}", line=line)
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
        for listener in self._listeners:
            await listener.stop()
        for port in self._turn:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        if self._stun is not None:
            await self._stun.stop()
        if self._relay is not None:
            self._relay.stop()
        if self._pool is not None and self._pool.started:
            # Waits for the transaction that is running.
            self._pool.stop()
        if self._store is not None:
            self._store.close()
        self._configuration.state.close()

    def _open(self) -> None:
        raiseFileLimit()
        chosen = self._configuration
        chosen.state.open()
        host = chosen.host or guessHost()
        identity = loadIdentity(chosen.state, host)
        self._openStore()
        if chosen.relay is not None:
            self._relay = RelayServer(self._reactor, chosen.relay, self._relaySecrets())
            self._relay.open()
        self._openStun()
        mediator = self._openMediator()
        self.factory = ControlServerFactory(mediator, self._reactor, _identify)
        own = serverOptions(identity.key, identity.certificate)
        ports = [self._listen(each, own) for each in chosen.listen]
        pins = [None if isAuthoritys(each) else spkiHash(identity.certificate) for each in chosen.listen]
        self.url = MediatorUrl(host, ports[0], pins[0])
        if self._relay is not None:
            self._relayUris += self._describeRelay(host, dict(zip(ports, pins, strict=True)))
        chosen.state.write("url", f"{self.url}\n".encode())

    def _listen(self, description: str, own: ServerCreator) -> int:
        """
        @return: the port.
        """
        control = self.factory
        if control is None:
            raise ConfigurationError("there is nothing to serve")
        shared = control if self._relay is None else SharedPort(control, self._relay.server)
        listener = Listener(self._reactor, description, shared, control.admission, own)
        self._listeners.append(listener)
        return int(getattr(listener.listen(), "port", 7443))

    def _relaySecrets(self) -> SharedSecrets:
        return SharedSecrets(readSecrets(makeSecret(self._configuration.state, _RELAY_SECRET)))

    def _describeRelay(self, host: str, tls: Mapping[int, bytes | None]) -> Iterator[str]:
        """
        @param tls: the ports on which TURN is served over TLS, with their pins.
        @return: the URIs of the relay in this process.
        """
        for port in dict.fromkeys(self._stunPorts):
            yield str(RelayUri(host, port, "udp"))
            yield str(RelayUri(host, port, "tcp"))
        # A firewall that lets out TLS at all does so to 443.
        for port in sorted(tls, key=lambda port: port != _HTTPS)[:1]:
            yield str(RelayUri(host, port, "tls", tls[port]))

    def _openStore(self) -> None:
        engine = openDatabase(self._configuration.database)
        submit, self._pool = threaded(self._reactor)
        self._store = Store(engine, submit)

    def _openMediator(self) -> Mediator:
        if self._store is None:
            raise ConfigurationError("the database is not open")
        advertised = self._stunPlaces.advertised[:ADVERTISED]
        offer = Offer(self._configuration.pool, tuple(map(str, advertised)), tuple(self._tickets()))
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

    def _tickets(self) -> Iterator[Tickets]:
        chosen = self._configuration
        if self._relay is not None:
            secret = readSecrets(makeSecret(chosen.state, _RELAY_SECRET))[0]
            yield Tickets(self._relayUris, secret, time.time, chosen.relayService)
        if chosen.tickets is not None:
            yield chosen.tickets

    def _openStun(self) -> None:
        chosen = self._configuration.stun
        server: StunHost | None = self._relay
        if server is None:
            server = self._stun = StunSockets(self._reactor)
        for address in chosen:
            self._stunPorts.append(self._openPort(server, address))
        served = [Address(address.host, port) for address, port in zip(chosen, self._stunPorts, strict=True)]
        pairs = list(publicPairs(ownAddresses(), outwardAddresses()))
        translated = () if self._relay is None else self._relay.translated
        self._stunPlaces = serveSecond(server, served, pairs, "--stun=IP:PORT", translated)

    def _openPort(self, server: StunHost, address: Address) -> int:
        """
        Serve STUN, and TURN if there is a relay, which takes TCP, too.
        """
        try:
            port = server.listenUdp(address.host, address.port)
            if self._relay is not None:
                self._turn.append(self._relay.listenTcp(address.host, port))
        except OSError as error:
            raise ConfigurationError(_stunRefused(address, error)) from error
        except CannotListenError as error:
            raise ConfigurationError(_stunRefused(address, error.socketError)) from error
        return port


def _stunRefused(address: Address, error: object) -> str:
    text = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        text = "the port is in use by another program: choose another with --stun=:PORT"
    return f"--stun: cannot serve STUN on {address}/udp: {text}"


def _identify(transport: Any) -> tuple[bytes, bytes]:
    return localSpkiHash(transport), exportedKey(transport)

# -*- test-case-name: vnet.test.test_relaytap -*-
"""
The relay as a service: its state, its ports, and its end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.usage import Options

from vnet.errors import ConfigurationError
from vnet.fatal import startConditions
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.tls import ServerCreator, relayServerOptions, spkiHash
from vnet.server.certificate import Identity, loadCertificateFiles, loadIdentity
from vnet.server.everyaddress import ownAddresses
from vnet.server.listening import whyNot
from vnet.server.outward import outwardAddresses
from vnet.server.relaymetrics import metricsSite
from vnet.server.relaysecrets import SecretFile, makeSecret
from vnet.server.relayserver import RelayChoice, RelayServer
from vnet.server.stunplaces import publicPairs, serveSecond
from vnet.statedir import StateDirectory
from vnet.values import Address

__all__ = ["RelayConfiguration", "RelayService"]

_SECRET = "secret"
_REFRESH, _REPORT = 10.0, 3600.0


@frozen
class RelayConfiguration:
    """
    What the operator chose.

    @ivar host: by which name or address clients reach the relay; empty: its own address.
    @ivar secretFile: L{None}: one in the state directory, made at the first start.
    @ivar tlsPort: 0: no TLS.
    @ivar certificate: the files of a certificate and its key; L{None}: the relay's own.
    @ivar metrics: an endpoint for Prometheus; empty: none.
    """

    state: StateDirectory
    choice: RelayChoice
    host: str = ""
    port: int = 3478
    tlsPort: int = 5349
    secretFile: Path | None = None
    certificate: tuple[Path, Path] | None = None
    metrics: str = ""


@define(eq=False)
class RelayService(Service):
    """
    Runs a L{RelayServer}.

    @ivar uris: what a mediator is told, once it is started.
    """

    _log = Logger()

    _reactor: Any
    _configuration: RelayConfiguration
    _options: Options
    uris: tuple[RelayUri, ...] = field(default=(), init=False)
    relay: RelayServer | None = field(default=None, init=False)
    _secrets: SecretFile | None = field(default=None, init=False)
    _ports: list[IListeningPort] = field(factory=list, init=False)
    _calls: list[LoopingCall] = field(factory=list, init=False)
    _lines: tuple[str, ...] = field(default=(), init=False)

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
        if self.relay is None:
            # Under twist, which has no privileged start.
            self.privilegedStartService()
        if self.relay is None or self._secrets is None:
            return
        with startConditions(self._options):
            self.relay.start()
        self._every(_REFRESH, self._secrets.refresh)
        self._every(_REPORT, self._report)
        for line in self._lines:
            self._log.info("{line}", line=line)
        self._log.info("the relay is {uris}", uris=" ".join(map(str, self.uris)))

    def _every(self, seconds: float, do: Callable[[], None]) -> None:
        call = LoopingCall(do)
        call.clock = self._reactor
        call.start(seconds, now=False)
        self._calls.append(call)

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and end all allocations.
        """
        super().stopService()
        for call in self._calls:
            call.stop()
        self._calls.clear()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        self._ports.clear()
        if self.relay is not None:
            self.relay.stop()
        self._configuration.state.close()

    def _report(self) -> None:
        """
        What went on is worth one line an hour; of strangers it says only how many they were.
        """
        if self.relay is not None:
            server = self.relay.server
            self._log.info(
                "{allocations} allocations of {users} users; in all: {relaying}, {forwarding}",
                allocations=len(server.relaying.clients),
                users=server.relaying.users,
                relaying=dict(server.relaying.counters),
                forwarding=dict(server.forwarding.counters),
            )

    # The beginning

    def _open(self) -> None:
        chosen = self._configuration
        chosen.state.open()
        self._secrets = SecretFile(chosen.secretFile or makeSecret(chosen.state, _SECRET))
        self._secrets.load()
        relay = RelayServer(self._reactor, chosen.choice, self._secrets)
        relay.open()
        host = chosen.host or next(iter(chosen.choice.external), next(iter(relay.hosts.values())))
        creator, pin = self._tls(host)
        self.uris = tuple(self._listen(relay, host, creator, pin))
        if chosen.metrics:
            self._listenMetrics(relay)
        chosen.state.write("uris", "".join(f"{uri}\n" for uri in self.uris).encode())
        self.relay = relay

    def _tls(self, host: str) -> tuple[ServerCreator, bytes | None]:
        """
        @return: what makes the server's side of TLS, and the pin of a certificate of our own.
        """
        chosen = self._configuration
        if chosen.certificate is not None:
            certificate, key, chain = loadCertificateFiles(*chosen.certificate)
            return relayServerOptions(key, certificate, chain), None
        identity: Identity = loadIdentity(chosen.state, host)
        return relayServerOptions(identity.key, identity.certificate), spkiHash(identity.certificate)

    def _listen(
        self, relay: RelayServer, host: str, creator: ServerCreator, pin: bytes | None
    ) -> Iterator[RelayUri]:
        chosen, port = self._configuration, self._configuration.port
        for each in chosen.choice.listen or ("",):
            try:
                port = relay.listenUdp(each, port)
            except OSError as error:
                raise ConfigurationError(_refused("--port", "UDP", each, port, error)) from error
            self._listenTcp(relay, each, port)
        self._serveStun(relay, port)
        yield RelayUri(host, port, "udp")
        yield RelayUri(host, port, "tcp")
        if not chosen.tlsPort:
            return
        for each in chosen.choice.listen or ("",):
            self._listenTcp(relay, each, chosen.tlsPort, creator)
        yield RelayUri(host, chosen.tlsPort, "tls", pin)

    def _serveStun(self, relay: RelayServer, port: int) -> None:
        served = [Address(each, port) for each in self._configuration.choice.listen or ("",)]
        pairs = list(publicPairs(ownAddresses(), outwardAddresses()))
        self._lines = serveSecond(relay, served, pairs, "--listen=IP", relay.translated).lines

    def _listenTcp(
        self, relay: RelayServer, host: str, port: int, creator: ServerCreator | None = None
    ) -> None:
        try:
            self._ports.append(relay.listenTcp(host, port, creator))
        except CannotListenError as error:
            option = "--port" if creator is None else "--tls-port"
            raise ConfigurationError(_refused(option, "TCP", host, port, error.socketError)) from error

    def _listenMetrics(self, relay: RelayServer) -> None:
        description = self._configuration.metrics
        failures: list[Any] = []
        try:
            endpoint = serverFromString(self._reactor, description)
        except Exception as error:
            # Whatever the parser, the files or OpenSSL say.
            raise ConfigurationError(f"--metrics={description}: {whyNot(error)}") from error
        endpoint.listen(metricsSite(relay.server)).addCallbacks(self._ports.append, failures.append)
        if failures:
            raise ConfigurationError(f"--metrics={description}: {whyNot(failures[0].value)}") from failures[
                0
            ].value


def _refused(option: str, protocol: str, host: str, port: int, error: Any) -> str:
    where = f"{option}={port}: cannot take {protocol} port {port}" + (f" of {host}" if host else "")
    code = getattr(error, "errno", 0)
    if code == errno.EADDRINUSE:
        return f"{where}: it is in use by another program: choose another one"
    if code == errno.EADDRNOTAVAIL:
        return f"{where}: this host does not have that address"
    return f"{where}: {getattr(error, 'strerror', None) or error}"

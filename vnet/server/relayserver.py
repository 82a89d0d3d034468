# -*- test-case-name: vnet.test.test_relaytap -*-
"""
A TURN server on this host: which of its addresses relay, and to which nothing may be relayed.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from attrs import define, field, frozen
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from vnet.errors import ConfigurationError
from vnet.linkwatcher import LinkWatcher
from vnet.protocols.machine.peerpolicy import Network, PeerPolicy
from vnet.protocols.machine.relaycredentials import CredentialSource
from vnet.protocols.machine.relaysettings import EPHEMERAL, RelayLimits, RelaySettings, Service, usualServices
from vnet.protocols.machine.stunorigins import Origins
from vnet.protocols.tls import ServerCreator
from vnet.protocols.turn import TurnServer
from vnet.server.everyaddress import EveryAddress, ownAddresses
from vnet.server.filelimit import raiseFileLimit
from vnet.server.outward import outwardAddresses

__all__ = ["RelayChoice", "RelayServer", "chooseHosts"]

_SPARE_FILES = 256
_BACKLOG = 1024
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@frozen
class RelayChoice:
    """
    What the operator chose.

    @ivar listen: addresses of this host, at which clients are served and from which is relayed; none: all of it.
    @ivar external: as what others see those, one of each family at most, where a NAT is in front.
    @ivar allow: networks to which may be relayed though they are forbidden usually; C{deny}: the opposite.
    """

    realm: str = "vnet"
    listen: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    ports: range = EPHEMERAL
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    limits: RelayLimits = field(factory=RelayLimits)
    services: Mapping[str, Service] = field(factory=usualServices)


def _version(host: str) -> int:
    return ip_address(host).version


def chooseHosts(listen: Sequence[str], outward: Mapping[int, str]) -> dict[int, str]:
    """
    From which addresses is relayed: of each family the first.

    @param outward: see L{outwardAddresses}.
    @raise ConfigurationError: there is none.
    """
    hosts: dict[int, str] = {}
    for host in listen:
        hosts.setdefault(_version(host), host)
    hosts = hosts or dict(outward)
    if not hosts:
        raise ConfigurationError(
            "this host has no address on a network, which a relay needs: name one that relays "
            "(vnet-relay: --listen=IP, vnet-mediator: --stun=IP:PORT)"
        )
    return hosts


@define(eq=False)
class RelayServer:
    """
    The server, with the addresses of this host kept known.

    @ivar hosts: the addresses that relay, by family.
    """

    _log = Logger()

    _reactor: Any
    _choice: RelayChoice
    _credentials: CredentialSource
    server: TurnServer = field(init=False)
    hosts: dict[int, str] = field(init=False)
    _watcher: LinkWatcher = field(init=False)
    _everywhere: EveryAddress = field(init=False)

    def open(self) -> None:
        """
        Find the addresses.

        @raise ConfigurationError: there is none, or the system does not tell.
        """
        choice = self._choice
        self.hosts = chooseHosts(choice.listen, outwardAddresses())
        settings = RelaySettings(
            choice.realm,
            self.hosts,
            self._chooseExternal(),
            choice.ports,
            PeerPolicy(choice.allow, choice.deny),
            choice.limits,
            choice.services,
        )
        self.server = TurnServer(self._reactor, settings, self._credentials)
        self._everywhere = EveryAddress(self.origins, self._listenOne, self.server.closeUdp)
        files = raiseFileLimit()
        if files < choice.limits.total + _SPARE_FILES:
            self._log.warn(
                "only {files} files may be open here, so there may be fewer than {total} allocations: "
                "raise the limit (ulimit -n, LimitNOFILE=)",
                files=files,
                total=choice.limits.total,
            )
        self._watcher = LinkWatcher(self._reactor, self._learnOwn)
        self._learnOwn()

    def _chooseExternal(self) -> dict[str, str]:
        """
        What peers see in place of the addresses that relay.  What is this host's own needs no NAT to be seen: it relays.
        """
        own, external = self._interfaces(), {}
        for host in self._choice.external:
            version = _version(host)
            if host in own:
                self.hosts[version] = host
            elif version in self.hosts:
                external[self.hosts[version]] = host
            else:
                raise ConfigurationError(f"--external-ip={host}: no address of its family relays here")
        return external

    def _interfaces(self) -> set[str]:
        return {each.address for each in ownAddresses()}

    def _learnOwn(self) -> None:
        found = self._interfaces()
        if not found:
            return
        self.server.relaying.policy.setOwn(found | set(self.hosts.values()) | set(self._choice.external))
        self._everywhere.follow(found)

    def _listenOne(self, host: str, port: int) -> int:
        return self.server.listenUdp(host, port).port

    @property
    def origins(self) -> Origins[Any]:
        """
        The sockets that are open, see L{vnet.server.stunplaces.StunHost}.
        """
        return self.server.relaying.origins

    @property
    def translated(self) -> frozenset[str]:
        """
        Those of the addresses that relay which others see as another one.
        """
        return frozenset(self.server.relaying.settings.external)

    def listenUdp(self, host: str, port: int) -> int:
        """
        Serve clients on a UDP port.

        @param host: an address of this host; empty: each that it has, now and later, so that answers come from where the
            question went.
        @return: the port.
        @raise OSError: it cannot be taken.
        """
        if host:
            return self._listenOne(host, port)
        found = self._interfaces() or set(self.hosts.values())
        return self._everywhere.listen(next(iter(self.hosts.values())), found, port)

    def listenTcp(self, host: str, port: int, creator: ServerCreator | None = None) -> IListeningPort:
        """
        Serve clients on a TCP port.

        @param host: as in L{listenUdp}.
        @param creator: what makes the server's side of TLS; L{None}: plain TCP.
        @raise CannotListenError: it cannot be taken.
        """
        factory = self.server.streamFactory("tcp" if creator is None else "tls", creator)
        for interface in [host] if host else ["::", "0.0.0.0"]:
            try:
                listening: IListeningPort = self._reactor.listenTCP(port, factory, _BACKLOG, interface)
                return listening
            except CannotListenError as error:
                if interface != "::" or getattr(error.socketError, "errno", 0) not in _NO_IPV6:
                    raise
        raise CannotListenError(host, port, OSError(errno.EADDRNOTAVAIL, "no address"))

    def start(self) -> None:
        """
        Begin to serve.
        """
        self._watcher.start()
        self.server.start()

    def stop(self) -> None:
        """
        Serve no more.
        """
        self._watcher.stop()
        self.server.stop()

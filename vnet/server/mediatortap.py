# -*- test-case-name: vnet.test.test_mediatortap -*-
"""
C{twistd vnet-mediator}.
"""

from __future__ import annotations

import os
import re
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

from sqlalchemy.engine import URL
from twisted.application.service import IService
from twisted.python import usage

from vnet.boottime import installBootClock
from vnet.directreads import installDirectReads
from vnet.errors import ConfigurationError, DecodeError
from vnet.fatal import OneLineOptions
from vnet.protocols.codec.turnuri import parseRelayUri
from vnet.protocols.codec.url import parseMediatorUrl
from vnet.protocols.machine.peerpolicy import Network
from vnet.server.addresses import parsePool
from vnet.server.listening import parseListen
from vnet.server.outward import outwardAddresses
from vnet.server.relaysecrets import readSecrets
from vnet.server.relayserver import RelayChoice
from vnet.server.relaytap import given, named, parseAddress, parseNetwork, parsePorts
from vnet.server.service import Configuration, MediatorService
from vnet.server.store.schema import parseDatabaseUrl
from vnet.server.tickets import Tickets
from vnet.statedir import StateDirectory
from vnet.values import Address

__all__ = ["Options", "makeService"]

_STUN_PORT = 3478
_MAXIMUM_SERVERS = 8


def defaultState() -> Path:
    """
    @return: where a mediator keeps its state when it is not told.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/vnet-mediator")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "vnet-mediator"


def parseHost(text: str) -> str:
    """
    Read the name or the address of the mediator.

    @raise ValueError: it is none.
    """
    host = text.removeprefix("[").removesuffix("]")
    try:
        return parseMediatorUrl(f"vnet://[{host}]" if ":" in host else f"vnet://{host}").host
    except DecodeError:
        raise ValueError(f"--host={text}: it takes a DNS name or an IP address, and nothing else") from None


def parseStun(text: str) -> Address:
    """
    Read C{IP:PORT}, C{[IP6]:PORT} or C{:PORT}.

    @raise ValueError: it is none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not colon or not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
            raise ValueError
        return Address(str(ip_address(host)) if host else "", int(port))
    except ValueError:
        raise ValueError(
            f"--stun={text}: it takes IP:PORT, [IP6]:PORT or :PORT, like 192.0.2.1:3478"
        ) from None


def parseClass(text: str) -> str:
    """
    Read the name of a class of service.

    @raise ValueError: it is none.
    """
    if text not in ("low", "high"):
        raise ValueError(f"--relay-class={text}: it is low or high")
    return text


def _path(text: str) -> Path:
    return Path(text).absolute()


class Options(OneLineOptions):
    """
    The options of C{vnet-mediator}.
    """

    program = "vnet-mediator"
    synopsis = "[options]"
    longdesc = "The control server that nodes log in to. It writes its URL to STATE/url and to the log."
    optParameters = (
        (
            "state",
            None,
            None,
            "The directory for the key, the database and the URL (default for root: /var/lib/vnet-mediator).",
            _path,
        ),
        ("host", None, None, "The DNS name or IP address for the URL (default: a guess).", parseHost),
        ("pool", None, None, "The block of the nodes' IPv4 addresses (default: 100.64.0.0/10).", parsePool),
        ("database", None, None, "SQLAlchemy's URL (default: SQLite in the state).", parseDatabaseUrl),
        ("relay-secret-file", None, None, "The file with the secret that the relays share.", _path),
        (
            "relay-ports",
            None,
            parsePorts("49152-65535"),
            "The ports of its own relay, MIN-MAX.",
            named("--relay-ports", parsePorts),
        ),
        ("relay-class", None, "high", "The class of service of nodes at relays: low or high.", parseClass),
    )
    optFlags = (("with-relay", None, "Be a relay too: on the STUN ports, and over TLS where it listens."),)

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []
        self.stun: list[Address] = []
        self.relays: list[str] = []
        self.external: list[str] = []
        self.allow: list[Network] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen; ssl: for an authority's certificate. May be repeated; the first is in the URL. (default: tcp:7443)
        """
        try:
            self.listen.append(parseListen(endpoint))
        except ValueError as error:
            raise usage.UsageError(str(error)) from None
        self._limit(self.listen, "--listen")

    def opt_external_ip(self, ip: str) -> None:
        """
        What others see in place of the address of its own relay, if a NAT is in front of it. One of each family.
        """
        self.external.append(given("--external-ip", parseAddress, ip))

    def opt_allow_peer(self, cidr: str) -> None:
        """
        Let its own relay relay to this address or block though it is a private one. May be repeated.
        """
        self.allow.append(given("--allow-peer", parseNetwork, cidr))

    def opt_stun(self, text: str) -> None:
        """
        Where to serve STUN, IP:PORT; nodes are told so. May be repeated: two addresses of one family do for
        RFC 5780. (default: port 3478 of all addresses)
        """
        try:
            self.stun.append(parseStun(text))
        except ValueError as error:
            raise usage.UsageError(str(error)) from None
        self._limit(self.stun, "--stun")

    def opt_relay(self, uri: str) -> None:
        """
        The URI of a relay, like turn:relay.example:3478?transport=udp. May be repeated.
        """
        try:
            parseRelayUri(uri)
        except DecodeError as error:
            raise usage.UsageError(f"--relay={uri}: {error}") from None
        self.relays.append(uri)
        self._limit(self.relays, "--relay")

    def _limit(self, found: list[Address] | list[str], name: str) -> None:
        if len(found) > _MAXIMUM_SERVERS:
            raise usage.UsageError(f"{name} may be given {_MAXIMUM_SERVERS} times at most")

    def postOptions(self) -> None:
        """
        Look at the options together.
        """
        if self["state"] is None:
            self["state"] = defaultState()
        if self["pool"] is None:
            self["pool"] = parsePool("100.64.0.0/10")
        if self["database"] is None:
            self["database"] = URL.create("sqlite", database=str(self["state"] / "mediator.db"))
        if bool(self.relays) != bool(self["relay-secret-file"]):
            raise usage.UsageError("--relay and --relay-secret-file belong together")
        if not self["with-relay"] and (self.external or self.allow):
            raise usage.UsageError("--external-ip and --allow-peer are for its own relay: --with-relay")

    def tickets(self) -> Tickets | None:
        """
        @return: what makes credentials for the relays; L{None} without relays.
        @raise SystemExit: the secret cannot be read.
        """
        if not self.relays:
            return None
        try:
            secret = readSecrets(self["relay-secret-file"], "--relay-secret-file")[0]
        except ConfigurationError as error:
            raise SystemExit(f"{self.program}: {error}") from None
        return Tickets(self.relays, secret, time.time, self["relay-class"])

    def relayChoice(self) -> RelayChoice | None:
        """
        @return: what the relay in this process is to be; L{None}: there is none.
        """
        if not self["with-relay"]:
            return None
        listen = dict.fromkeys(each.host for each in self.stun if each.host)
        return RelayChoice(
            listen=tuple(listen),
            external=tuple(self.external) or self._outside(),
            ports=self["relay-ports"],
            allow=tuple(self.allow),
            deny=(ip_network(str(self["pool"].network)),),
        )

    def _outside(self) -> tuple[str, ...]:
        """
        A host that is an address says under which one others see this one.
        """
        try:
            host = ip_address(self["host"] or "")
        except ValueError:
            return ()
        outward = outwardAddresses()
        return (str(host),) if host.version in outward and str(host) not in outward.values() else ()


def makeService(options: Options) -> IService:
    """
    Build the mediator; it does nothing until it is started.
    """
    from twisted.internet import reactor

    installBootClock(reactor)
    installDirectReads(reactor)
    configuration = Configuration(
        state=StateDirectory(options["state"]),
        host=options["host"] or "",
        listen=tuple(options.listen) or ("tcp:7443",),
        stun=tuple(options.stun) or (Address("", _STUN_PORT),),
        pool=options["pool"],
        database=options["database"],
        tickets=options.tickets(),
        relay=options.relayChoice(),
        relayService=options["relay-class"],
    )
    return MediatorService(reactor, configuration, options)

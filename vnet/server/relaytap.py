# -*- test-case-name: vnet.test.test_relaytap -*-
"""
C{twistd vnet-relay}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from twisted.application.service import IService
from twisted.python import usage

from vnet.boottime import installBootClock
from vnet.directreads import installDirectReads
from vnet.errors import DecodeError
from vnet.fatal import OneLineOptions
from vnet.protocols.codec.turnuri import parseRelayUri
from vnet.protocols.machine.peerpolicy import Network
from vnet.protocols.machine.relaysettings import RelayLimits, Service
from vnet.server.relay import RelayConfiguration, RelayService
from vnet.server.relayserver import RelayChoice
from vnet.statedir import StateDirectory
from vnet.timeslice import takeShortTurns

__all__ = ["Options", "given", "makeService", "named", "parseAddress", "parseNetwork", "parsePorts"]

T = TypeVar("T")

_LONGEST_REALM = 64
_LEAST_PORT, _FEWEST_PORTS = 1024, 2


def defaultState() -> Path:
    """
    @return: where a relay keeps its state when it is not told.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/vnet-relay")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "vnet-relay"


def _number(text: str, least: int, most: int, what: str) -> int:
    number = int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else -1
    if not least <= number <= most:
        raise ValueError(f"{text!r} is no {what}: use {least} to {most}")
    return number


def named(option: str, parse: Callable[[str], T]) -> Callable[[str], T]:
    """
    What reads the value of an option, and names it where the value is wrong.
    """

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{option}: {error}") from None

    return read


def _numberOf(option: str, least: int, most: int, what: str) -> Callable[[str], int]:
    return named(option, lambda text: _number(text, least, most, what))


_ALLOCATIONS = (1, 1_000_000, "number of allocations")
_KILOBITS = (0, 100_000_000, "rate in kbit/s (0: no limit)")


def _realm(text: str) -> str:
    if not text or len(text) > _LONGEST_REALM or not text.isprintable():
        raise ValueError(
            f"--realm: {text!r} is none: use at most {_LONGEST_REALM} characters that can be seen"
        )
    return text


def _path(text: str) -> Path:
    return Path(text).absolute()


def parseAddress(text: str) -> str:
    """
    Read an IP address.

    @raise ValueError: it is none.
    """
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None


def parseNetwork(text: str) -> Network:
    """
    Read an address or a block.

    @raise ValueError: it is none.
    """
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address or block like 192.0.2.0/24 (with zeros after the prefix)"
        ) from None


def parsePorts(text: str) -> range:
    """
    Read C{MIN-MAX}.

    @raise ValueError: it is no range of ports.
    """
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is no range of ports: use MIN-MAX, like 49152-65535")
    ports = range(_number(first, _LEAST_PORT, 65535, "port"), _number(last, _LEAST_PORT, 65535, "port") + 1)
    if len(ports) < _FEWEST_PORTS:
        raise ValueError(f"{text!r} is no range of ports: the second has to be greater than the first")
    return ports


def parseHost(text: str) -> str:
    """
    Read the name or the address of a relay.

    @raise ValueError: it is none.
    """
    host = text.removeprefix("[").removesuffix("]")
    try:
        return parseRelayUri(f"turn:[{host}]" if ":" in host else f"turn:{host}")[0].host
    except DecodeError:
        raise ValueError(f"{text!r}: it takes a DNS name or an IP address, and nothing else") from None


class Options(OneLineOptions):
    """
    The options of C{vnet-relay}.
    """

    program = "vnet-relay"
    synopsis = "[options]"
    longdesc = (
        "A TURN server that carries ciphertext for nodes without a direct path. "
        "It writes its URIs, which a mediator is given with --relay, to STATE/uris and to the log."
    )
    optParameters = (
        (
            "state",
            None,
            None,
            "The directory for key and URIs (default for root: /var/lib/vnet-relay).",
            _path,
        ),
        (
            "secret-file",
            None,
            None,
            "The file with the secret that mediators share (default: STATE/secret).",
            _path,
        ),
        ("host", None, None, "The DNS name or IP address for the URIs (default: the address).", parseHost),
        ("port", None, 3478, "The port for UDP and TCP.", _numberOf("--port", 1, 65535, "port")),
        ("tls-port", None, 5349, "The port for TLS; 0: none.", _numberOf("--tls-port", 0, 65535, "port")),
        (
            "ports",
            None,
            parsePorts("49152-65535"),
            "The ports of relayed addresses, MIN-MAX.",
            named("--ports", parsePorts),
        ),
        (
            "tls-certificate",
            None,
            None,
            "A certificate of an authority, PEM (default: one of its own).",
            _path,
        ),
        ("tls-key", None, None, "Its private key, PEM.", _path),
        ("realm", None, "vnet", "The realm of its challenges.", _realm),
        ("user-quota", None, 32, "Allocations of one user.", _numberOf("--user-quota", *_ALLOCATIONS)),
        ("total-quota", None, 16_384, "Allocations in all.", _numberOf("--total-quota", *_ALLOCATIONS)),
        (
            "low-rate",
            None,
            256,
            "kbit/s of a user of class low, in each direction; 0: no limit.",
            _numberOf("--low-rate", *_KILOBITS),
        ),
        ("high-rate", None, 0, "The same of class high.", _numberOf("--high-rate", *_KILOBITS)),
        (
            "metrics",
            None,
            "",
            "An endpoint for Prometheus, like tcp:9641:interface=127.0.0.1 (default: none).",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []
        self.external: list[str] = []
        self.allow: list[Network] = []
        self.deny: list[Network] = []

    def opt_listen(self, ip: str) -> None:
        """
        An address of this host that serves and relays. May be repeated. (default: all addresses serve, and the one
        towards the Internet relays)
        """
        self.listen.append(given("--listen", parseAddress, ip))

    def opt_external_ip(self, ip: str) -> None:
        """
        What others see in place of the address that relays, if a NAT is in front of it. One of each family.
        """
        self.external.append(given("--external-ip", parseAddress, ip))

    def opt_allow_peer(self, cidr: str) -> None:
        """
        Relay to this address or block though it is a private one. May be repeated.
        """
        self.allow.append(given("--allow-peer", parseNetwork, cidr))

    def opt_deny_peer(self, cidr: str) -> None:
        """
        Do not relay to this address or block. May be repeated.
        """
        self.deny.append(given("--deny-peer", parseNetwork, cidr))

    def postOptions(self) -> None:
        """
        Look at the options together.
        """
        if self["state"] is None:
            self["state"] = defaultState()
        if bool(self["tls-certificate"]) != bool(self["tls-key"]):
            raise usage.UsageError("--tls-certificate and --tls-key belong together")
        if len({ip_address(each).version for each in self.external}) < len(self.external):
            raise usage.UsageError("--external-ip takes one address of each family")

    def choice(self) -> RelayChoice:
        """
        @return: what of it concerns the server itself.
        """
        return RelayChoice(
            realm=self["realm"],
            listen=tuple(self.listen),
            external=tuple(self.external),
            ports=self["ports"],
            allow=tuple(self.allow),
            deny=tuple(self.deny),
            limits=RelayLimits(total=self["total-quota"], perUser=self["user-quota"]),
            services={"low": service(self["low-rate"]), "high": service(self["high-rate"])},
        )


def service(kilobits: int) -> Service:
    """
    A class of service.

    @param kilobits: a second, of one user and all that he has; 0: no limit.
    """
    rate = kilobits * 1000 / 8 or None
    return Service(rate, rate)


def given(option: str, parse: Callable[[str], T], text: str) -> T:
    """
    Read the value of an option that may be repeated.

    @raise UsageError: it is wrong.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from None


def makeService(options: Options) -> IService:
    """
    Build the relay; it does nothing until it is started.
    """
    from twisted.internet import reactor

    takeShortTurns()
    installBootClock(reactor)
    installDirectReads(reactor)
    files = (options["tls-certificate"], options["tls-key"])
    configuration = RelayConfiguration(
        state=StateDirectory(options["state"]),
        choice=options.choice(),
        host=options["host"] or "",
        port=options["port"],
        tlsPort=options["tls-port"],
        secretFile=options["secret-file"],
        certificate=files if all(files) else None,
        metrics=options["metrics"],
    )
    return RelayService(reactor, configuration, options)

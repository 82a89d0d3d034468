# -*- test-case-name: vnet.test.test_clienttap -*-
"""
The options of C{twistd vnet-client}.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network
from pathlib import Path

from twisted.python import usage

from vnet.client.dataplane.clamp import LEAST
from vnet.client.dataplane.groups import MEMBER_RATE
from vnet.client.metricsendpoint import endpointText
from vnet.client.proxychoice import ProxyChoice, chooseProxy, readPassword
from vnet.errors import ConfigurationError, DecodeError
from vnet.fatal import OneLineOptions
from vnet.protocols.codec.llc import parseTypes
from vnet.values import Offload

__all__ = ["Options", "defaultState", "offloadOf"]

_MTU, _LARGEST_MTU = 1440, 8940
_ETHER_TYPES = "ipx,appletalk,netbeui"
_LARGEST_RATE = 100_000
_OFFLOADS = ("checksum", "tcp", "udp")
_EVERYTHING = ",".join(_OFFLOADS)
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")


def defaultState() -> str:
    """
    @return: the state directory where no other is given.
    """
    if os.geteuid() == 0:
        return "/var/lib/vnet"
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(base) / "vnet")


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise ValueError(f"{text!r} is no UDP port: use 1 to 65535")
    return number


def _mtu(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not LEAST <= number <= _LARGEST_MTU:
        raise ValueError(f"{text!r} is no MTU: use {LEAST} to {_LARGEST_MTU}")
    return number


def _interface(text: str) -> str:
    if not _INTERFACE.match(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is no interface name: use at most 15 letters, digits, '.', '_' and '-'")
    return text


def _etherTypes(text: str) -> str:
    try:
        parseTypes(text)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return text


def _groupRate(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= _LARGEST_RATE:
        raise ValueError(f"{text!r} is no rate: use 1 to {_LARGEST_RATE}")
    return number


def _metrics(text: str) -> str:
    return endpointText(text) if text else ""


def _kind(text: str) -> str:
    if text not in ("tap", "tun"):
        raise ValueError(f"{text!r} is no kind of interface: use tap or tun")
    return text


def _offload(text: str) -> str:
    offloadOf(text)
    return text


def offloadOf(text: str) -> Offload:
    """
    @param text: a value of C{--offload}.
    @raise ValueError: it is none.
    """
    words = [] if text == "none" else text.split(",")
    for word in words:
        if word not in _OFFLOADS:
            raise ValueError(f"{word!r} is no offload: use words of {_EVERYTHING}, or none")
    if words and "checksum" not in words:
        raise ValueError(f"{text!r} is not possible without checksum: use checksum,{text}")
    return Offload(**dict.fromkeys(words, True))


class Options(OneLineOptions):
    """
    The options of C{twistd vnet-client}.
    """

    program = "vnet-client"
    synopsis = "[options]"
    optParameters = [
        [
            "state",
            None,
            None,
            "Directory of the key, the networks and the control socket (default for root: /var/lib/vnet).",
        ],
        ["socket", None, None, "Control socket (default: control.sock in the state directory)."],
        ["interface", None, "vnet0", "Name of the network interface.", _interface],
        [
            "device",
            None,
            "tap",
            "Kind of the interface: tap for Ethernet frames, tun for IP packets only.",
            _kind,
        ],
        [
            "offload",
            None,
            _EVERYTHING,
            "What to leave to the operating system: words of checksum,tcp,udp, or none.",
            _offload,
        ],
        [
            "mtu",
            None,
            _MTU,
            "MTU of the interface, 1280 to 8940. Where the path to a peer carries less, that holds for this peer.",
            _mtu,
        ],
        [
            "ether-types",
            None,
            _ETHER_TYPES,
            "Protocols beside IP that pass where 'vnet lan' chose no others: "
            "words of ipx,appletalk,netbeui, EtherTypes and SAPs such as 0x88b5, or none.",
            _etherTypes,
        ],
        [
            "group-rate",
            None,
            MEMBER_RATE,
            "Packets a second to groups (broadcast, multicast) that are sent, and that are taken of each member.",
            _groupRate,
        ],
        ["port", None, 0, "UDP port, for a router that forwards it here; 0 lets the system choose.", _port],
        [
            "proxy",
            None,
            None,
            "Proxy for TCP connections: http://[NAME@]HOST:PORT, https://... or socks5://...; 'none' for none (default: what "
            "https_proxy or all_proxy and no_proxy in the environment say). NAME:PASSWORD@ works too, but every user of this "
            "computer sees it then.",
        ],
        [
            "proxy-password-file",
            None,
            None,
            "File with the proxy's password in its first line; nobody else should be able to read it (0600).",
        ],
        [
            "metrics",
            None,
            "",
            "An endpoint for Prometheus, like tcp:9477, which is that port of 127.0.0.1 (default: none).",
            _metrics,
        ],
    ]
    optFlags = [
        ["no-port-mapping", None, "Do not ask the router to forward the UDP port (PCP, NAT-PMP, UPnP)."],
        [
            "lan-priority",
            None,
            "Limited broadcast of programs that name no interface reaches the virtual one, too.",
        ],
        ["no-names", None, "Make no names of members known to this computer (NICK.NETWORK.vnet)."],
    ]
    compData = None
    proxies = ProxyChoice()

    def __init__(self) -> None:
        super().__init__()
        self["accept-pool"] = []

    def opt_accept_pool(self, cidr: str) -> None:
        try:
            self["accept-pool"].append(IPv4Network(cidr))
        except ValueError as error:
            raise usage.UsageError(f"--accept-pool: {cidr!r} is no IPv4 block such as 25.0.0.0/8") from error

    # What --help says, with python -OO too.
    opt_accept_pool.__doc__ = (
        "Take an overlay's address block that may be in use on the Internet, "
        "as CIDR; may be given several times."
    )

    def postOptions(self) -> None:
        """
        Fill in what follows from other options.
        """
        self["state"] = self["state"] or defaultState()
        self["socket"] = self["socket"] or str(Path(self["state"]) / "control.sock")
        try:
            self.proxies = chooseProxy(self["proxy"], os.environ)
        except DecodeError as error:
            raise usage.UsageError(str(error)) from None
        if self["proxy-password-file"]:
            self._checkPasswordWanted()

    def _checkPasswordWanted(self) -> None:
        try:
            self.proxies.withPassword("password")
        except DecodeError as error:
            raise usage.UsageError(f"--proxy-password-file: {error}") from None

    def chosenProxies(self) -> ProxyChoice:
        """
        The proxy, with its password.

        @raise ConfigurationError: the file of the password cannot be read.
        """
        path = self["proxy-password-file"]
        if not path:
            return self.proxies
        try:
            return self.proxies.withPassword(readPassword(path))
        except DecodeError as error:
            raise ConfigurationError(f"--proxy-password-file={path}: {error}") from None

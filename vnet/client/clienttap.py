# -*- test-case-name: vnet.test.test_clienttap -*-
"""
C{twistd vnet-client}: options, and the service that they make.
"""

from __future__ import annotations

import gc
import os
import re
import socket
import sys
import time
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python import usage

from vnet.boottime import installBootClock
from vnet.client._localsocket import GROUP
from vnet.client.dataplane.clamp import LEAST
from vnet.client.dataplane.device import TapDevice
from vnet.client.dataplane.groups import MEMBER_RATE
from vnet.client.dataplane.udp import UdpPort
from vnet.client.dialer import Dialer
from vnet.client.firewall.nft import NftProgram
from vnet.client.firewall.tablewatch import tableWatcher
from vnet.client.groupsocket import GroupSocket
from vnet.client.identity import loadIdentity
from vnet.client.keptclock import KeptClock
from vnet.client.lanpriority import LanPriority
from vnet.client.lanroutes.kernel import LinuxKernel
from vnet.client.localcontrol import LocalControl
from vnet.client.mediatorendpoint import Mediators
from vnet.client.metricsendpoint import endpointText
from vnet.client.names.nameservice import NameParts
from vnet.client.names.resolved import Resolved
from vnet.client.node import Node
from vnet.client.nodeparts import NodeParts
from vnet.client.proxychoice import ProxyChoice, chooseProxy, readPassword
from vnet.client.reach import reachRelays, resolveHost
from vnet.client.state import StateFile
from vnet.client.sync import MAXIMUM_MEMBERS
from vnet.client.verbs import Verbs
from vnet.directreads import installDirectReads
from vnet.errors import ConfigurationError, DecodeError
from vnet.fatal import OneLineOptions, startConditions
from vnet.linkwatcher import LinkWatcher
from vnet.protocols.codec.llc import parseTypes
from vnet.protocols.codec.names import validateNick
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.secrets import deriveMaster
from vnet.protocols.machine.wireguard import WireGuard
from vnet.residentpages import fileAreas, giveBack
from vnet.statedir import StateDirectory
from vnet.values import Offload

if TYPE_CHECKING:
    from vnet.client.portmapping.mapper import RouterNetwork

__all__ = ["ClientService", "Options", "defaultState", "makeService"]

_MTU, _LARGEST_MTU = 1440, 8940
_ETHER_TYPES = "ipx,appletalk,netbeui"
_LARGEST_RATE = 100_000
_OFFLOADS = ("checksum", "tcp", "udp")
_EVERYTHING = ",".join(_OFFLOADS)
# Seconds after the start: by then the node has logged in, and runs what it will go on to run.
_SETTLED = 10.0
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
    _offloadOf(text)
    return text


def _offloadOf(text: str) -> Offload:
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
        """
        Take an overlay's address block that may be in use on the Internet, as CIDR; may be given several times.
        """
        try:
            self["accept-pool"].append(IPv4Network(cidr))
        except ValueError as error:
            raise usage.UsageError(f"--accept-pool: {cidr!r} is no IPv4 block such as 25.0.0.0/8") from error

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


class ClientService(MultiService):
    """
    The node, with the files, the device and the sockets that it holds while it runs.
    """

    _log = Logger()

    def __init__(self, reactor: Any, options: Options) -> None:
        super().__init__()
        self._reactor = reactor
        self._options = options
        self._state = StateDirectory(Path(options["state"]))
        self._opened = False
        self.node: Node | None = None
        self._watchers: list[LinkWatcher] = []
        self._metrics: Any = None
        self._givesBack: Any = None

    def privilegedStartService(self) -> None:
        """
        Open everything that may fail, so that a failure is one line for who started this.
        """
        with startConditions(self._options):
            self._open()
        super().privilegedStartService()

    def startService(self) -> None:
        """
        Start the node.
        """
        if not self._opened:
            with startConditions(self._options):
                self._open()
        with startConditions(self._options):
            try:
                super().startService()
            except ConfigurationError:
                if self.node is not None:
                    self.node.firewall.abandon()
                raise
        if self.node is not None:
            self.node.start()
        # What is here by now stays: a collection that went through it would hold up packets for tens of milliseconds.
        gc.collect()
        gc.freeze()
        self._givesBack = self._reactor.callLater(_SETTLED, giveBack, fileAreas())

    def _open(self) -> None:
        self._state.open()
        self._state.admit(GROUP)
        proxies = self._options.chosenProxies()
        identity = loadIdentity(self._state.path / "identity.key")
        state = StateFile(self._state.path / "state.json")
        state.load()
        if not state.remembered.nick:
            state.update(nick=_hostNick())
        wall = KeptClock(self._state.path / "timestamp", time.time_ns, self._reactor.seconds)
        wall.load()
        device = TapDevice(
            self._reactor,
            name=self._options["interface"],
            mtu=self._options["mtu"],
            isTun=self._options["device"] == "tun",
            wanted=_offloadOf(self._options["offload"]),
        )
        port = UdpPort(self._reactor, self._options["port"], (self._options["interface"],))
        port.open()
        try:
            device.open()
        except ConfigurationError:
            port.close()
            raise
        dialer = self._dialer(proxies)
        self.node = Node(
            NodeParts(
                clock=self._reactor,
                identity=identity,
                state=state,
                device=device,
                port=port,
                wireguard=WireGuard(
                    identity.tunnelPrivateKey(),
                    random=os.urandom,
                    wallClock=wall,
                    mtu=self._options["mtu"],
                    maxPeers=MAXIMUM_MEMBERS,
                ),
                random=os.urandom,
                sealer=Sealer(identity.seed, os.urandom),
                endpointFor=Mediators(
                    self._reactor, dialer, lambda host: resolveHost(self._reactor, host)
                ).endpointFor,
                deriveMaster=self._deriveMaster,
                acceptedPools=self._options["accept-pool"],
                relayReach=reachRelays(self._reactor, dialer),
                openPort=lambda: UdpPort(self._reactor),
                fixedPort=bool(self._options["port"]),
                routerNetwork=self._routerNetwork(),
                names=None if self._options["no-names"] else self._nameParts(),
                nft=NftProgram(),
                kernel=LinuxKernel(self._state.path / "forwarding.json"),
                lanPriority=LanPriority(self._reactor, device.name)
                if self._options["lan-priority"]
                else None,
                # A TUN has no frames.
                etherTypes=None if device.isTun else parseTypes(self._options["ether-types"]),
                groupRate=self._options["group-rate"],
                groupSocket=GroupSocket(device.name),
            )
        )
        if self._options["metrics"]:
            from vnet.client.metrics import listenMetrics

            self._metrics = listenMetrics(self._reactor, self._options["metrics"], self.node)
        LocalControl(Verbs(self.node), self._options["socket"], self._reactor).setServiceParent(self)
        self._watchers = [LinkWatcher(self._reactor, self.node.linksChanged)]
        self._watchers.append(tableWatcher(self._reactor, self.node.firewall.check))
        self._watchers[0].start()
        with suppress(ConfigurationError):
            # A system without nftables.
            self._watchers[1].start()
        self.node.lanRoutes.prepare()
        self.node.firewall.prepare()
        self._opened = True

    def _routerNetwork(self) -> RouterNetwork | None:
        if self._options["no-port-mapping"]:
            return None
        # HTTP and XML are in memory only where a router is asked.
        from vnet.client.portmapping.network import ReactorNetwork

        return ReactorNetwork(self._reactor)

    def _nameParts(self) -> NameParts:
        host = socket.gethostname().partition(".")[0].lower()
        return NameParts(self._reactor, self._state.path / "names.json", Resolved(self._reactor), host)

    def _dialer(self, proxies: ProxyChoice) -> Dialer:
        if proxies.proxy is not None:
            self._log.info(
                "TCP connections go through {proxy} ({origin})",
                proxy=str(proxies.proxy),
                origin=proxies.origin,
            )
        return Dialer(self._reactor, proxies)

    async def _deriveMaster(self, password: str, realm: bytes, name: str) -> bytes:
        return await deferToThread(deriveMaster, password, realm, name)

    def stopService(self) -> Deferred[None]:
        """
        Log out and give everything back.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._givesBack is not None and self._givesBack.active():
            self._givesBack.cancel()
        await super().stopService()
        for watcher in self._watchers:
            watcher.stop()
        if self._metrics is not None:
            await self._metrics.stopListening()
        if self.node is not None:
            await self.node.stop()
        self._state.close()
        # The reactor ends all connections from where this ends, which may be inside what one of them received.
        await deferLater(self._reactor, 0)


def _hostNick() -> str:
    try:
        return validateNick(socket.gethostname()[:64])
    except DecodeError:
        return "unnamed"


def makeService(options: Options, reactor: Any = None) -> ClientService:
    """
    Make the service; nothing is opened yet.

    @param reactor: the global one by default.
    """
    if reactor is None:
        from twisted.internet import reactor as reactor
    if sys.platform != "linux":
        raise SystemExit("vnet-client: only Linux is supported")
    installBootClock(reactor)
    installDirectReads(reactor)
    return ClientService(reactor, options)

# -*- test-case-name: vnet.test.test_clienttap -*-
"""
C{twistd vnet-client}: the service that its options make.
"""

from __future__ import annotations

import gc
import linecache
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from vnet.boottime import installBootClock
from vnet.client._localsocket import GROUP
from vnet.client.clientoptions import Options, offloadOf
from vnet.client.dataplane.device import TapDevice
from vnet.client.dataplane.udp import UdpPort
from vnet.client.dialer import Dialer
from vnet.client.firewall.nft import NftProgram
from vnet.client.firewall.tablewatch import ruleWatcher, tableWatcher
from vnet.client.groupsocket import GroupSocket
from vnet.client.identity import loadIdentity
from vnet.client.keptclock import KeptClock
from vnet.client.localcontrol import LocalControl
from vnet.client.mediatorendpoint import Mediators
from vnet.client.names.nameservice import NameParts
from vnet.client.names.resolved import Resolved
from vnet.client.node import Node
from vnet.client.nodeparts import NodeParts
from vnet.client.proxychoice import ProxyChoice
from vnet.client.reach import reachRelays, resolveHost
from vnet.client.state import StateFile
from vnet.client.sync import MAXIMUM_MEMBERS
from vnet.client.verbs import Verbs
from vnet.directreads import installDirectReads
from vnet.errors import ConfigurationError, DecodeError
from vnet.fatal import startConditions
from vnet.largepages import LargePages
from vnet.linkwatcher import LinkWatcher
from vnet.protocols.codec.llc import parseTypes
from vnet.protocols.codec.names import validateNick
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.secrets import deriveMaster
from vnet.protocols.machine.wireguard import WireGuard
from vnet.residentpages import fileAreas, giveBack
from vnet.statedir import StateDirectory
from vnet.timeslice import takeShortTurns

if TYPE_CHECKING:
    from vnet.client.lanpriority import LanPriority
    from vnet.client.lanroutes.kernel import Kernel
    from vnet.client.portmapping.mapper import RouterNetwork

__all__ = ["ClientService", "Options", "makeService"]

# Seconds after the start: by then the node has logged in, and runs what it will go on to run.
_SETTLED = 10.0


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
            wanted=offloadOf(self._options["offload"]),
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
                makeKernel=self._makeKernel,
                lanPriority=self._lanPriority(device.name),
                # A TUN has no frames.
                etherTypes=None if device.isTun else parseTypes(self._options["ether-types"]),
                groupRate=self._options["group-rate"],
                carried=LargePages(self._reactor).carried,
                groupSocket=GroupSocket(device.name),
                proxyHosts=dialer.proxyHosts,
            )
        )
        if self._options["metrics"]:
            from vnet.client.metrics import listenMetrics

            self._metrics = listenMetrics(self._reactor, self._options["metrics"], self.node)
        LocalControl(Verbs(self.node), self._options["socket"], self._reactor).setServiceParent(self)
        self._watchers = [LinkWatcher(self._reactor, self.node.linksChanged)]
        self._watchers.append(tableWatcher(self._reactor, self.node.firewall.check))
        self._watchers.append(ruleWatcher(self._reactor, self.node.lans.rulesChanged))
        self._watchers[0].start()
        with suppress(ConfigurationError):
            # A system without nftables.
            for watcher in self._watchers[1:]:
                watcher.start()
        if self._forwarding.exists():
            # Of a client that died.
            self.node.lans.load().routes.prepare()
        self.node.firewall.prepare()
        self._opened = True

    def _lanPriority(self, interface: str) -> LanPriority | None:
        if not self._options["lan-priority"]:
            return None
        from vnet.client.lanpriority import LanPriority

        return LanPriority(self._reactor, interface)

    @property
    def _forwarding(self) -> Path:
        return self._state.path / "forwarding.json"

    def _makeKernel(self) -> Kernel:
        # In memory only where LANs are shared.
        from vnet.client.lanroutes.kernel import LinuxKernel

        return LinuxKernel(self._forwarding)

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


def _forgetLoading() -> None:
    """
    Free what only loading took: the rest of the start takes its place, and not more memory.
    """
    # The source of each method that attrs has made is kept for debuggers.
    linecache.clearcache()
    gc.collect()
    gc.freeze()


def makeService(options: Options, reactor: Any = None) -> ClientService:
    """
    Make the service; nothing is opened yet.

    @param reactor: the global one by default.
    """
    if reactor is None:
        from twisted.internet import reactor as reactor

        takeShortTurns()
        _forgetLoading()
    if sys.platform != "linux":
        raise SystemExit("vnet-client: only Linux is supported")
    installBootClock(reactor)
    installDirectReads(reactor)
    return ClientService(reactor, options)

"""
A thousand peers for one node, and their mediator.

    python crowd.py mediator HOST DIRECTORY
    python crowd.py peers URL

The mediator prints its URL.  It is the real one, but does not tell the crowd of each other.  The peers are in one process.
Each has its own keys, UDP socket, ICE agent and WireGuard machine, and logs in over TLS: a whole node but for its device, its
disk, and for what it is told of its network, that it and the founder are in it.  For each line on standard input, a number, so
many peers come, and C{came NUMBER} is printed.  Both programs end when standard input does.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from vnet.boottime import installBootClock
from vnet.client.dataplane.udp import UdpPort
from vnet.client.dialer import Dialer
from vnet.client.identity import Identity
from vnet.client.mediatorendpoint import Mediators
from vnet.client.node import Node
from vnet.client.nodeparts import NodeParts
from vnet.client.proxychoice import ProxyChoice
from vnet.client.reach import resolveHost
from vnet.client.state import Remembered, StateFile
from vnet.client.verbs import Verbs
from vnet.errors import Unreachable
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlserver import ControlServer, ControlServerFactory
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.stun import StunServer
from vnet.protocols.tls import exportedKey, localSpkiHash, serverOptions, spkiHash
from vnet.server.addresses import parsePool
from vnet.server.certificate import loadIdentity
from vnet.server.filelimit import raiseFileLimit
from vnet.server.listening import Listener
from vnet.server.mediator import Mediator, Offer
from vnet.server.store.worker import Store, inline
from vnet.statedir import StateDirectory
from vnet.test.mediatorlab import memoryEngine
from vnet.testing import MemoryDevice

__all__ = ["NETWORK", "Crowd", "PartialMediator", "main"]

NETWORK = "idle"
_PORT, _STUN_PORT = 7443, 3478
#: How many log in at the same time, how often each tries, and seconds between two attempts.
_AT_ONCE, _ATTEMPTS, _PAUSE = 4, 10, 3.0


class PartialMediator(Mediator):
    """
    The mediator, which tells everybody but who founded the network of that one and of themselves only.
    """

    async def synchronise(
        self, session: ControlServer, epoch: bytes, held: list[dict[str, Any]], cursor: bytes
    ) -> dict[str, Any]:
        """
        Give the founder everything, and others the founder.
        """
        networks = list(self.presence.nodes[session.key].networks.values())
        if not networks or networks[0].owner == session.key:
            return await super().synchronise(session, epoch, held, cursor)
        network = networks[0]
        members = [self.presence.member(network, key) for key in (network.owner, session.key)]
        told: dict[str, Any] = {"network": network.identifier, "name": network.name, "owner": network.owner}
        told.update(protected=False, online=True, version=1, whole=True, members=members)
        return {"epoch": self._steps.epoch, "networks": [told], "gone": [], "cursor": b""}


def serve(reactor: Any, host: str, directory: Path) -> str:
    """
    Start the mediator.

    @param host: an address of this host.
    @param directory: for its key.
    @return: its URL.
    """
    state = StateDirectory(directory)
    state.open()
    identity = loadIdentity(state, host)
    store = Store(memoryEngine(), inline)
    reactor.listenUDP(_STUN_PORT, StunServer(reactor, rate=100_000), interface=host)
    offer = Offer(parsePool("100.64.0.0/10"), (f"{host}:{_STUN_PORT}",))
    mediator = PartialMediator(reactor, store, offer)
    store.runNow(mediator.load)
    # All come from one host, within a minute, and to one peer.
    everything = KeyedLimit(1e6, 1e6)
    mediator.quotas._registrations = mediator.quotas._connects = everything
    mediator.quotas._signals = everything
    factory = ControlServerFactory(
        mediator, reactor, lambda transport: (localSpkiHash(transport), exportedKey(transport))
    )
    own = serverOptions(identity.key, identity.certificate)
    Listener(reactor, f"tcp:{_PORT}", factory, factory.admission, own).listen()
    return str(MediatorUrl(host, _PORT, spkiHash(identity.certificate)))


class ForgetfulState(StateFile):
    """
    What is not kept: a thousand nodes would wait for the disk all the time.
    """

    def _write(self, remembered: Remembered) -> None:
        pass

    def ensureRoom(self) -> None:
        """
        There is.
        """

    def save(self) -> None:
        """
        For nothing.
        """


@define(eq=False)
class Crowd:
    """
    The peers.

    @ivar url: of the mediator.
    """

    reactor: Any
    url: str
    _nodes: list[Node] = field(factory=list, init=False)

    async def come(self, count: int) -> None:
        """
        So many more log in and join.
        """
        numbers = iter(range(len(self._nodes), len(self._nodes) + count))

        async def some() -> None:
            for number in numbers:
                await self._come(number)

        working = [Deferred.fromCoroutine(some()) for _ in range(_AT_ONCE)]
        await DeferredList(working, fireOnOneErrback=True)

    async def _come(self, number: int) -> None:
        node = self._make(number)
        self._nodes.append(node)
        verbs = Verbs(node)
        for attempt in range(_ATTEMPTS):
            try:
                await verbs.login(self.url)
                await verbs.join(NETWORK, None)
                break
            except Unreachable:
                # On a busy machine the mediator, which is as busy as all of the crowd, may take too long to answer.
                if attempt + 1 == _ATTEMPTS:
                    raise
                await deferLater(self.reactor, _PAUSE)

    def _make(self, number: int) -> Node:
        identity = Identity(hashlib.sha256(b"%d" % number).digest())
        state = ForgetfulState(Path(f"peer-{number}"))
        state.update(nick=f"peer-{number}")
        device, port = MemoryDevice(), UdpPort(self.reactor)
        device.open()
        port.open()
        dialer = Dialer(self.reactor, ProxyChoice())
        node = Node(
            NodeParts(
                clock=self.reactor,
                identity=identity,
                state=state,
                device=device,
                port=port,
                wireguard=WireGuard(identity.tunnelPrivateKey(), random=os.urandom, wallClock=time.time_ns),
                random=os.urandom,
                sealer=Sealer(identity.seed, os.urandom),
                endpointFor=Mediators(
                    self.reactor, dialer, lambda host: resolveHost(self.reactor, host)
                ).endpointFor,
                deriveMaster=_noPassword,
            )
        )
        node.start()
        return node


async def _noPassword(password: str, realm: bytes, name: str) -> bytes:
    raise NotImplementedError("the network has no password")


class Lines(LineOnlyReceiver):
    """
    What is asked for.
    """

    delimiter = b"\n"

    def __init__(self, reactor: Any, crowd: Crowd | None) -> None:
        self._reactor, self._crowd = reactor, crowd

    def lineReceived(self, line: bytes) -> None:
        """
        So many are to come.
        """
        if self._crowd is None:
            return

        def failed(failure: Failure) -> None:
            print(f"failed {failure.getErrorMessage()}", flush=True)

        coming = Deferred.fromCoroutine(self._crowd.come(int(line)))
        coming.addCallbacks(lambda _: print(f"came {int(line)}", flush=True), failed)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Nobody asks any more.
        """
        self._reactor.stop()


def main() -> None:
    """
    Run until standard input ends.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    installBootClock(reactor)
    raiseFileLimit()
    crowd = None
    if sys.argv[1] == "mediator":
        url = serve(reactor, sys.argv[2], Path(sys.argv[3]))
        reactor.callWhenRunning(print, url, flush=True)
    else:
        crowd = Crowd(reactor, sys.argv[2])
    StandardIO(Lines(reactor, crowd))
    reactor.run()


if __name__ == "__main__":
    main()

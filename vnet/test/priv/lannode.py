"""
A node with its data plane, firewall and routes to LANs, and static keys: a program for tests::

    python -m vnet.test.priv.lannode CONFIGURATION

The configuration is JSON: C{number} (the node is 100.64.0.NUMBER and fd76:1:2::NUMBER), C{port}, C{key} (private, hexadecimal),
C{state} (a directory), C{tun}, and C{peers}: C{number}, C{key} (public), C{host} and C{port} of each.  The program prints
C{ready}.  Each line of its standard input is JSON, too: what to do, see L{Commands}; it answers with a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.device import TapDevice
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.dataplane.udp import UdpPort
from vnet.client.firewall.firewall import Firewall
from vnet.client.firewall.nft import NftProgram
from vnet.client.firewall.policy import Policy, parsePolicy
from vnet.client.lanroutes.kernel import LinuxKernel
from vnet.client.lanroutes.lanroutes import LanRoutes
from vnet.client.lanroutes.plan import Gateway
from vnet.client.tunnels import TunnelTable
from vnet.linkwatcher import LinkWatcher
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.priv.dataplanenode import POOL, POOL6
from vnet.values import Address

NETWORK = b"n" * 16


class Population:
    """
    One network, with all peers.
    """

    def __init__(self, members: dict[bytes, tuple[str, str]]) -> None:
        self._members = members
        self.policy = parsePolicy("open")

    def policies(self) -> dict[bytes, Policy]:
        """See L{vnet.client.firewall.firewall.Population}."""
        return {NETWORK: self.policy}

    def nameOf(self, network: bytes) -> str:
        """See L{vnet.client.firewall.firewall.Population}."""
        return "lan"

    def members(self) -> Iterable[bytes]:
        """See L{vnet.client.firewall.firewall.Population}."""
        return self._members

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        """See L{vnet.client.firewall.firewall.Population}."""
        return self._members[key]

    def networksOf(self, key: bytes) -> list[bytes]:
        """See L{vnet.client.firewall.firewall.Population}."""
        return [NETWORK]


class Commands(LineOnlyReceiver):
    """
    What the node can be told.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, reactor: Any, config: dict[str, Any]) -> None:
        self._keys = {each["number"]: bytes.fromhex(each["key"]) for each in config["peers"]}
        self._admitted: set[bytes] = set()
        self._device, udp = TapDevice(reactor, isTun=config["tun"]), UdpPort(reactor, config["port"])
        self._machine = WireGuard(bytes.fromhex(config["key"]), random=os.urandom, wallClock=time.time_ns)
        self._clamp = Clamp(self._device.mtu, reactor)
        self._forwarder = Forwarder(
            self._device,
            udp,
            self._machine,
            reactor,
            lambda data, addr: None,
            lambda event: None,
            clamp=self._clamp,
        )
        self._tunnels = TunnelTable(reactor, self._machine, self._forwarder, self._clamp)
        addresses = {key: _addresses(number) for number, key in self._keys.items()}
        self._population = Population(addresses)
        self._firewall = Firewall(reactor, self._device.name, self._population, NftProgram())
        self.routes = LanRoutes(
            reactor,
            self._device.name,
            config["tun"],
            self._tunnels,
            self._forwarder,
            self._firewall,
            LinuxKernel(Path(config["state"]) / "forwarding.json"),
            lambda key, prefix: key in self._admitted,
            lambda: [each["host"] for each in config["peers"]],
        )
        udp.open()
        self._device.open()
        self.routes.prepare()
        self._firewall.prepare()
        self._forwarder.start()
        number = config["number"]
        own = (f"100.64.0.{number}", POOL, f"fd76:1:2::{number}", POOL6)
        self._forwarder.configure(*own)
        self.routes.configure(*own)
        for each in config["peers"]:
            key = self._keys[each["number"]]
            self._tunnels.add(key, *addresses[key], tuple)
            self._tunnels.open(key)
            self._tunnels.setEndpoint(key, Address(each["host"], each["port"]))
            self._clamp.setSize(key, 1472)
            # One of before has another session.
            self._machine.initiate(key, reactor.seconds())
        self._forwarder.flush()
        self._watcher = LinkWatcher(reactor, self.routes.linksChanged)
        self._watcher.start()
        self._reactor = reactor

    def lineReceived(self, line: bytes) -> None:
        """Do it."""
        told = json.loads(line)
        running = getattr(self, f"do_{told.pop('do')}")(**told)
        Deferred.fromCoroutine(running).addCallbacks(self._answer, self._failed)

    def _answer(self, value: object) -> None:
        print(json.dumps(value), flush=True)

    def _failed(self, failure: Any) -> None:
        failure.printTraceback(sys.stderr)
        self._answer({"error": failure.getErrorMessage()})

    async def do_offer(self, prefixes: list[str], admitted: list[int]) -> dict[str, str]:
        """Share these with those."""
        self._admitted = {self._keys[number] for number in admitted}
        self.routes.membersChanged()
        self.routes.offer(prefixes)
        await self.routes.settle()
        return dict(self.routes.offerProblems())

    async def do_use(self, used: dict[str, list[str]]) -> dict[str, str]:
        """Use these, by the number of the member."""
        wanted = {
            Gateway(self._keys[int(number)], *_addresses(int(number))): prefixes
            for number, prefixes in used.items()
        }
        self.routes.use(wanted)
        await self.routes.settle()
        return await self.do_problems()

    async def do_problems(self) -> dict[str, str]:
        """Why prefixes of others are not used."""
        return {prefix: why for (_, prefix), why in self.routes.useProblems().items()}

    async def do_policy(self, text: str) -> None:
        """What the firewall lets in."""
        self._population.policy = parsePolicy(text)
        await self._firewall.apply()

    async def do_size(self, number: int, size: int) -> None:
        """What the path to a peer carries."""
        self._clamp.setSize(self._keys[number], size, True)

    async def do_inject(self, number: int, packets: list[str]) -> None:
        """Send packets to a peer, whatever is in them."""
        sent = [bytes.fromhex(packet) for packet in packets]
        self._machine.send(self._keys[number], sent, self._reactor.seconds())
        self._forwarder.flush()

    async def do_counters(self) -> dict[str, int]:
        """What was dropped."""
        return dict(self._forwarder.counters + self._machine.counters + self._clamp.counters)

    async def do_stop(self) -> None:
        """Give everything back, and end."""
        self._watcher.stop()
        await self.routes.close()
        self._forwarder.stop()
        self._device.close()
        await self._firewall.close()
        self._reactor.callLater(0.05, self._reactor.stop)


def _addresses(number: int) -> tuple[str, str]:
    return f"100.64.0.{number}", f"fd76:1:2::{number}"


def main(argv: list[str]) -> None:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    commands = Commands(reactor, json.loads(argv[0]))
    StandardIO(commands)
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])

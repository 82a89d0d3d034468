# -*- test-case-name: vnet.test.test_natsim -*-
"""
A small Internet in memory, on a clock that a test moves: hosts, LANs, NATs of each behaviour, loss, delay and hops.

A program whose UDP goes through L{IDatagramPort} runs on it as it is::

    clock = HeapClock()
    internet = Internet(clock, seed=1, loss=0.02)
    lan = internet.lan()
    nat = Nat(lan, internet, "198.51.100.1", mapping="address-and-port-dependent", allocation=Sequential(step=2, noise=20.0))
    computer = NatHost({"192.168.1.2": lan})
    port = computer.port()
    port.open()
    clock.run(30.0)

L{vnet.test.natkinds} has the kinds of NAT that the world has, by their names.
"""

from vnet.test.natsim.clock import HeapClock
from vnet.test.natsim.firewall import Firewall
from vnet.test.natsim.host import Host, NatHost, SimPort
from vnet.test.natsim.nat import FILTERING, MAPPING, Nat
from vnet.test.natsim.ports import Allocation, Block, Preserving, RandomPorts, Sequential
from vnet.test.natsim.realm import HOPS, Internet, Link, Packets, Realm

__all__ = [
    "FILTERING",
    "HOPS",
    "MAPPING",
    "Allocation",
    "Block",
    "Firewall",
    "HeapClock",
    "Host",
    "Internet",
    "Link",
    "Nat",
    "NatHost",
    "Packets",
    "Preserving",
    "RandomPorts",
    "Realm",
    "Sequential",
    "SimPort",
]

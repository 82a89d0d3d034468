"""
An Internet on one computer, made of network namespaces: public hosts, homes behind NATs of every
kind, and the processes that run in them.

    with Lab("demo") as lab:
        mediator = lab.addHost("mediator")
        alice = lab.addHome("alice", nat="port-restricted")
        alice.host.ping(mediator.address)

Needs root, C{ip} and C{nft}.  Whatever happens, leaving the block removes all of it.
"""

from vnet.test.netlab._interrupt import Interrupted, deferred, guard
from vnet.test.netlab._lab import Lab
from vnet.test.netlab._nat import NAT_KINDS
from vnet.test.netlab._process import stop
from vnet.test.netlab._sites import Home, Host
from vnet.test.netlab._space import Capture, Link, Ping, Space
from vnet.test.netlab._system import LabError, sweep, unavailable

__all__ = [
    "NAT_KINDS",
    "Capture",
    "Home",
    "Host",
    "Interrupted",
    "Lab",
    "LabError",
    "Link",
    "Ping",
    "Space",
    "deferred",
    "guard",
    "stop",
    "sweep",
    "unavailable",
]

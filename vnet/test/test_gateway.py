"""
Tests for L{vnet.client.portmapping.gateway}.
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.portmapping.gateway import Gateway, defaultGateway, parseRoutes

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT" + " " * 20


def line(
    gateway: str, metric: int = 0, flags: int = 3, interface: str = "eth0", mask: str = "00000000"
) -> str:
    """
    A line of the kernel's table.
    """
    number = int.from_bytes(IPv4Address(gateway).packed, sys.byteorder)
    return f"{interface}\t00000000\t{number:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0" + " " * 20


class RouteTests(SynchronousTestCase):
    """
    L{parseRoutes}.
    """

    def test_found(self) -> None:
        """
        The default route of the lowest metric counts.
        """
        lines = [
            HEADER,
            line("192.168.1.1", 600, interface="wlan0"),
            line("10.0.0.1", 100),
            line("10.0.0.2", 1000),
        ]
        self.assertEqual(parseRoutes("\n".join(lines)), Gateway("10.0.0.1", "eth0"))

    def test_none(self) -> None:
        """
        Routes that are down, have no gateway, or are not the default one do not count, nor what is no route.
        """
        for each in (
            line("192.168.1.1", flags=2),
            line("0.0.0.0", flags=1),
            line("192.168.1.1", mask="00FFFFFF"),
            line("127.0.0.1"),
            line("224.0.0.1"),
            line("255.255.255.255"),
            line("192.168.1.1").replace("00000000", "0000A8C0", 1),
            "garbage\t" * 11,
            "",
        ):
            self.assertEqual(parseRoutes(f"{HEADER}\n{each}\n"), None)

    def test_file(self) -> None:
        """
        The table is a file; without it there is no router.
        """
        path = Path(self.mktemp())
        self.assertEqual(defaultGateway(path), None)
        path.write_text(f"{HEADER}\n{line('192.168.1.1')}\n")
        self.assertEqual(defaultGateway(path), Gateway("192.168.1.1", "eth0"))

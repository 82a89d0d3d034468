"""
What games and other programs on a LAN do, as one program::

    python -m vnet.test.priv.lanprogram NAME INTERFACE ADDRESS ADDRESS6 BROADCAST

It prints C{ready}.  For each line on its standard input: C{send WORD} sends one packet of each kind to its group, with the word
in it; C{show} prints what it has received, one JSON object.  It ends at the end of its input.

The kinds: broadcast to both addresses and announcements to groups of IPv4 and IPv6 as they are; Quake's C{getinfo} and SSDP's
C{M-SEARCH}, which are answered; a NetBIOS responder; and a service by multicast DNS, which all look for.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

QUAKE, MINECRAFT, PLAIN, SSDP, NETBIOS = 27960, 4445, 4555, 1900, 137
MINECRAFT_GROUP, SSDP_GROUP, GROUP6 = "224.0.2.60", "239.255.255.250", "ff02::114"
SERVICE = "_vnetgame._udp.local."
GETINFO, INFO = b"\xff\xff\xff\xffgetinfo ", b"\xff\xff\xff\xffinfoResponse\n"
SEARCH = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n'
)

Addressed = tuple[str, int]


def opened(interface: str, port: int, *groups: str, family: int = socket.AF_INET) -> socket.socket:
    """
    A socket for what comes to a port by an interface.
    """
    made = socket.socket(family, socket.SOCK_DGRAM)
    index = socket.if_nametoindex(interface)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    for group in groups:
        packed = ip_address(group).packed
        if family == socket.AF_INET6:
            request = packed + struct.pack("@I", index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        else:
            request = packed + bytes(4) + struct.pack("@i", index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    made.bind(("", port))
    return made


class Program:
    """
    One computer's.

    @ivar received: how often what came of whom: C{KIND WORD ADDRESS}.
    @ivar answered: the same of answers to it.
    """

    def __init__(self, name: str, interface: str, address: str, address6: str, broadcast: str) -> None:
        self.name, self.address, self.broadcast = name, address, broadcast
        self._own = (address, address6)
        self.received: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.services: set[str] = set()
        self._quake = opened(interface, QUAKE)
        self._plain = opened(interface, PLAIN)
        self._minecraft = opened(interface, MINECRAFT, MINECRAFT_GROUP)
        self._ssdp = opened(interface, SSDP, SSDP_GROUP)
        self._netbios = opened(interface, NETBIOS)
        self._six = opened(interface, PLAIN, GROUP6, family=socket.AF_INET6)
        self._asking = opened(interface, 0)
        self._zeroconf = Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only)
        info = ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            27960,
            addresses=[socket.inet_aton(address)],
            server=f"{name}-game.local.",
        )
        self._zeroconf.register_service(info, cooperating_responders=True)
        self._browser = ServiceBrowser(self._zeroconf, SERVICE, handlers=[self._found])

    def _found(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        self.services.add(name.removesuffix(f".{SERVICE}"))

    def send(self, word: str) -> None:
        """
        One packet of each kind.
        """
        asking = self._asking
        for number, target in enumerate(("255.255.255.255", self.broadcast)):
            asking.sendto(f"{number} {word}".encode(), (target, PLAIN))
        asking.sendto(f"[MOTD]{word}[/MOTD][AD]25565[/AD]".encode(), (MINECRAFT_GROUP, MINECRAFT))
        asking.sendto(GETINFO + word.encode(), ("255.255.255.255", QUAKE))
        asking.sendto(SEARCH + f"X-WORD: {word}\r\n\r\n".encode(), (SSDP_GROUP, SSDP))
        self._six.sendto(f"six {word}".encode(), (GROUP6, PLAIN))

    def serve(self) -> None:
        """
        Until the standard input ends.
        """
        print("ready", flush=True)
        sockets = [
            *(self._quake, self._plain, self._minecraft, self._ssdp, self._netbios, self._six, self._asking)
        ]
        while True:
            ready: list[Any] = select.select([sys.stdin, *sockets], [], [])[0]
            for each in ready:
                if each is not sys.stdin:
                    self._read(each)
                    continue
                # Not by lines: select knows nothing of what Python has read ahead.
                lines = os.read(sys.stdin.fileno(), 4096).decode().splitlines()
                if not lines:
                    return
                for line in lines:
                    self._obey(line)

    def _obey(self, line: str) -> None:
        if line.startswith("send "):
            self.send(line.split()[1])
        else:
            self.show()

    def _read(self, each: socket.socket) -> None:
        data, source = each.recvfrom(65536)
        host = str(source[0])
        if host in self._own:
            # The kernel lets programs hear their own broadcasts.
            return
        if each is self._asking:
            self.answered[f"{data.split()[0][-12:].decode(errors='replace')} {host}"] += 1
        elif each is self._netbios:
            self._answerName(data, source)
        else:
            self.received[f"{data.decode('latin-1')[-60:]} {host}"] += 1
            if each is self._quake and data.startswith(GETINFO):
                each.sendto(INFO + b"\\hostname\\" + self.name.encode(), source)
            elif each is self._ssdp and data.startswith(b"M-SEARCH"):
                each.sendto(b"HTTP/1.1 200 OK\r\nST: ssdp:all\r\n\r\n", source)

    def _answerName(self, data: bytes, source: Addressed) -> None:
        """
        RFC 1002 sections 4.2.12 and 4.2.13: the name is ours.
        """
        if len(data) < 50 or data[2] & 0x80:
            return
        coded = data[13:45]
        name = bytes((coded[i] - 0x41) << 4 | coded[i + 1] - 0x41 for i in range(0, 32, 2))
        if name[:15].rstrip().lower() != self.name.encode():
            return
        answer = data[:2] + b"\x85\x00" + struct.pack("!HHHH", 0, 1, 0, 0) + data[12:46]
        answer += struct.pack("!HHIH", 0x20, 1, 300, 6) + b"\0\0" + socket.inet_aton(self.address)
        self._netbios.sendto(answer, source)

    def show(self) -> None:
        """
        Say what came.
        """
        found = {"received": self.received, "answered": self.answered, "services": sorted(self.services)}
        print(json.dumps(found), flush=True)

    def close(self) -> None:
        """
        Have the service no longer.
        """
        with suppress(Exception):
            self._zeroconf.close()


def main() -> None:
    program = Program(*sys.argv[1:])
    program.serve()
    program.close()


if __name__ == "__main__":
    main()

"""
What a NAT really does, observed with sockets: a server on a public host with two addresses, and a client
behind the NAT.  The method is that of RFC 5780 section 4, with JSON datagrams in place of STUN, so that it
stands or falls without our own STUN.

    python -m vnet.test.netlab.probe serve FIRST SECOND
    python -m vnet.test.netlab.probe classify FIRST SECOND
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from typing import Any

import attrs

from vnet.test.netlab._process import stop
from vnet.test.netlab._sites import Host
from vnet.test.netlab._space import ROOT, awaitLine

__all__ = ["Observation", "observe"]

PORTS = (7001, 7002)
WAIT = 0.25


@attrs.frozen
class Observation:
    """
    How a NAT treated the client.  The behaviours are C{"endpoint"} (independent), C{"address"} or
    C{"address-and-port"} (dependent).

    @ivar udp: whether there was any answer; without one the rest is of no meaning.
    @ivar ports: the public ports of one socket towards three endpoints: first address twice, second address.
    @ivar addresses: the public addresses that they belong to.
    @ivar preserved: whether the first of them is the socket's own.
    @ivar steady: whether the mapping outlives a datagram that comes before the client has sent to its sender.
    @ivar hairpin: whether a second socket reaches the first at its public endpoint.
    """

    udp: bool
    mapping: str = ""
    filtering: str = ""
    ports: list[int] = attrs.field(factory=list)
    addresses: list[str] = attrs.field(factory=list)
    preserved: bool = False
    steady: bool = False
    hairpin: bool = False


Endpoint = tuple[str, int]


def observe(client: Host, server: Host) -> Observation:
    """
    Classify the NAT between two hosts of a lab; takes about a second.
    """
    second = server.uplink.extra[0] if server.uplink.extra else server.addAddress()
    running = server.popen(
        [sys.executable, "-m", __name__, "serve", server.address, second],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        awaitLine(running, "ready", 10.0)
        code = "import sys; from vnet.test.netlab.probe import main; main(sys.argv[1:])"
        return Observation(**json.loads(client.python(code, "classify", server.address, second)))
    finally:
        stop(running)


def _serve(first: str, second: str) -> None:
    sockets: dict[tuple[int, int], socket.socket] = {}
    for address, host in enumerate((first, second)):
        for port, number in enumerate(PORTS):
            each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            each.bind((host, number))
            sockets[address, port] = each
    print("ready", file=sys.stderr, flush=True)
    while True:
        for ready in select.select(list(sockets.values()), [], [])[0]:
            data, source = ready.recvfrom(1500)
            wanted = json.loads(data)
            sender = sockets[wanted[0], wanted[1]] if wanted else ready
            sender.sendto(json.dumps(source).encode(), source)


def _open() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("0.0.0.0", 0))
    client.settimeout(WAIT)
    return client


def _ask(client: socket.socket, to: Endpoint, answerFrom: list[int], tries: int = 1) -> Endpoint | None:
    """
    The public endpoint that the server saw; L{None} when nothing came back.
    """
    for _ in range(tries):
        client.sendto(json.dumps(answerFrom).encode(), to)
        try:
            host, port = json.loads(client.recv(1500))
        except TimeoutError:
            continue
        return str(host), int(port)
    return None


def _mapping(ports: list[Endpoint | None]) -> str:
    if ports[0] != ports[1]:
        return "address-and-port"
    return "endpoint" if ports[1] == ports[2] else "address"


def _filtering(first: Endpoint) -> str:
    client = _open()
    _ask(client, first, [], 3)
    if _ask(client, first, [1, 0]) is not None:
        return "endpoint"
    return "address" if _ask(client, first, [0, 1]) is not None else "address-and-port"


def _steady(first: Endpoint, second: Endpoint) -> bool:
    client = _open()
    port = _ask(client, first, [], 3)
    _ask(client, first, [1, 0])
    return _ask(client, second, [], 3) == port


def _hairpins(first: Endpoint) -> bool:
    client, other = _open(), _open()
    public = _ask(client, first, [], 3)
    if public is None:
        return False
    other.sendto(b"hairpin", public)
    try:
        return str(client.recvfrom(1500)[1][0]) == public[0]
    except TimeoutError:
        return False


def _classify(first: str, second: str) -> dict[str, Any]:
    client = _open()
    endpoints = [(first, PORTS[0]), (first, PORTS[1]), (second, PORTS[0])]
    seen = [_ask(client, endpoint, [], 3) for endpoint in endpoints]
    ports = [each[1] for each in seen if each is not None]
    if len(ports) < len(seen):
        return {"udp": False}
    return {
        "udp": True,
        "mapping": _mapping(seen),
        "ports": ports,
        "addresses": [each[0] for each in seen if each is not None],
        "preserved": ports[0] == client.getsockname()[1],
        "filtering": _filtering(endpoints[0]),
        "steady": _steady(endpoints[0], endpoints[2]),
        "hairpin": _hairpins(endpoints[0]),
    }


def main(argv: list[str]) -> None:
    """
    The command line of this module's docstring.
    """
    if argv[0] == "serve":
        _serve(argv[1], argv[2])
    else:
        print(json.dumps(_classify(argv[1], argv[2])))


if __name__ == "__main__":
    main(sys.argv[1:])

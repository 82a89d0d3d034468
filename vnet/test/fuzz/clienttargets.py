"""
Targets: what the node reads besides the network: requests, its state, and the mediator's welcome.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, cast

import attrs

from vnet.client.localrequest import VERBS, decodeRequest
from vnet.client.state import Remembered, RememberedNetwork, StateFile
from vnet.client.welcome import Welcome, memberAddressesIn, parseWelcome
from vnet.errors import DecodeError, Refused, StateError
from vnet.protocols.codec.address6 import address6Of
from vnet.test.fuzz.codectargets import textOf
from vnet.test.fuzz.target import Target, accepting, require

__all__ = ["TARGETS"]


def _request(data: bytes) -> None:
    try:
        request = decodeRequest(data)
    except DecodeError as error:
        require(str(error).isprintable() and len(str(error)) < 400, "a refusal is one short line")
        raise
    verb = VERBS[request.verb]
    require(len(request.arguments) == len(verb.arguments), "a request has all arguments of its verb")
    for value in request.arguments:
        if isinstance(value, str):
            value.encode("utf-8")
    json.dumps({"id": request.id}, allow_nan=False).encode("ascii")


def _requestSeeds() -> Sequence[bytes]:
    full: list[dict[str, object]] = [
        {
            "id": number,
            "verb": name,
            "arguments": {**dict.fromkeys(verb.arguments, "home"), **dict.fromkeys(verb.numbers, 2)},
        }
        for number, (name, verb) in enumerate(VERBS.items())
    ]
    odd: list[dict[str, object]] = [
        {"id": "x" * 64, "verb": "join", "arguments": {"network": "\ud83d\ude00\n", "password": None}},
        {"id": 2**53 - 1, "verb": "status"},
        {"id": [[[[]]]], "verb": {"a": 1e300}, "arguments": [True, None]},
    ]
    return [json.dumps(each).encode() for each in (*full, *odd)]


# The welcome, one field on each line

_FIELDS = ("pool", "pool6", "address", "address6", "realm", "stun", "stun", "member", "member6")


_HOMES = [IPv4Network(block) for block in ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


_OWN, _OTHER, _PREFIX6 = b"k" * 32, b"o" * 32, bytes.fromhex("fd123456789a")


def _welcome(data: bytes) -> None:
    lines = textOf(data).split("\n")
    lines += [""] * (len(_FIELDS) - len(lines))
    pool, pool6, address, address6, realm, stun, stun2, member, member6 = lines[: len(_FIELDS)]
    answer = {
        "pool": pool,
        "pool6": pool6,
        "address": address,
        "address6": address6,
        "realm": realm.encode("utf-8", "surrogateescape"),
        "epoch": b"epoch",
        "stun": [stun, stun2],
        "relays": [],
    }
    try:
        with accepting("a login is refused by Refused"):
            welcome = parseWelcome(answer, "192.0.2.9", _OWN)
    except Refused as error:
        require(str(error).isprintable() and len(str(error)) < 400, "a refusal is one short line")
        return
    _checkWelcome(welcome)
    for each in memberAddressesIn(welcome, _OTHER, member, member6):
        require(_isCanonical(each), "a member has canonical addresses")


def _checkWelcome(welcome: Welcome) -> None:
    addresses = [welcome.address, welcome.address6, *(server.host for server in welcome.stun)]
    require(all(map(_isCanonical, addresses)), "a welcome has canonical addresses")
    require(
        not any(map(IPv4Network(welcome.pool).overlaps, _HOMES)), "an overlay is none of the home networks"
    )
    for network in (IPv4Network(welcome.pool), IPv6Network(welcome.pool6)):
        require("%" not in str(network) and network.prefixlen >= 8, "an overlay is a block of addresses")


def _isCanonical(text: str) -> bool:
    address = ip_address(text)
    return str(address) == text and "%" not in text and getattr(address, "ipv4_mapped", None) is None


def _welcomeSeeds() -> Sequence[bytes]:
    common = ["fd12:3456:789a::/48", "100.64.0.1", str(address6Of(_PREFIX6, _OWN)), "r" * 16]
    servers = ["192.0.2.1:3478", "[2001:db8::1]:3478", "100.64.0.2", str(address6Of(_PREFIX6, _OTHER))]
    return [
        "\n".join(["100.64.0.0/10", *common, *servers]).encode(),
        "\n".join(["192.168.0.0/16", common[0], "192.168.0.1", *common[2:], *servers]).encode(),
        "\n".join(["10.0.0.0/8", common[0], "10.0.0.1", *common[2:], *servers]).encode(),
        "\n".join(
            ["100.64.0.0/255.192.0.0", *common, ":3478", "[::ffff:192.0.2.1]:1", *servers[2:]]
        ).encode(),
        "\n".join(
            [
                "100.64.0.0/24",
                *common,
                "192.0.2.1:1",
                "[fe80::1%lo]:1",
                "100.64.0.2",
                f"{address6Of(_PREFIX6, _OTHER)}%lo",
            ]
        ).encode(),
    ]


# The state file


@attrs.frozen
class _MemoryPath:
    """
    As much of a path as reading needs.
    """

    content: bytes

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.content)


def _state(data: bytes) -> None:
    file = StateFile(cast(Path, _MemoryPath(data)))
    try:
        file.load()
    except StateError:
        return
    for network in file.remembered.networks.values():
        require(network.secret is None or len(bytes.fromhex(network.secret)) == 32, "a secret is one")
    for pin in file.remembered.pins.values():
        bytes.fromhex(pin)
    again = StateFile(cast(Path, _MemoryPath(_stateText(file.remembered))))
    again.load()
    require(again.remembered == file.remembered, "a state that was read is read again when it is written")


def _stateText(remembered: Remembered) -> bytes:
    content: dict[str, Any] = {"version": 1, **attrs.asdict(remembered)}
    return json.dumps(content, indent=1).encode()


def _stateSeeds() -> Sequence[bytes]:
    networks = {
        "0a" * 16: RememberedNetwork("home", "0b" * 32),
        "0c" * 16: RememberedNetwork("B\u00fccher"),
    }
    full = Remembered(
        "vnet://mediator.example:7443",
        True,
        "nick",
        networks,
        {"work": RememberedNetwork("work", "0f" * 32)},
        {"0d" * 16 + "/100.64.0.1": "0e" * 32},
    )
    newer = _stateText(full).replace(b'"version": 1', b'"version": 2')
    return [_stateText(Remembered()), _stateText(full), newer]


TARGETS = [
    Target("local-request", lambda: _request, _requestSeeds, maximum=1024),
    Target("welcome", lambda: _welcome, _welcomeSeeds, maximum=512),
    Target("state", lambda: _state, _stateSeeds),
]

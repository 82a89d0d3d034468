"""
Targets: what a router says that is asked for a port mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from vnet.errors import DecodeError
from vnet.protocols.codec import natpmp, pcp
from vnet.protocols.codec.igd import Fault, decodeReply, encodeCall, parseDescription
from vnet.protocols.codec.plainxml import parseXml
from vnet.protocols.codec.ssdp import TARGETS as SEARCHED
from vnet.protocols.codec.ssdp import Place, decodeAnswer, encodeSearch
from vnet.test.fuzz.target import Target, accepting, require

__all__ = ["TARGETS"]

_ROUTER = "192.168.1.1"
_PLACE = Place(_ROUTER, 5000, "/rootDesc.xml")
_NONCE = bytes(range(12))
_URN = "urn:schemas-upnp-org:service:"


def _natpmp(data: bytes) -> None:
    answer = natpmp.decodeAnswer(data)
    require(0 <= answer.epoch < 1 << 32, "an epoch has 32 bits")
    if isinstance(answer, natpmp.ExternalAddress):
        require(str(IPv4Address(answer.host)) == answer.host, "a host is canonical")
    if isinstance(answer, natpmp.Mapped):
        again = natpmp.encodeMapping(answer.internalPort, answer.externalPort, answer.lifetime)
        require(again[4:] == data[8:16], "a mapping is written as it was read")


def _natpmpSeeds() -> Sequence[bytes]:
    return [
        bytes.fromhex("0080000000000e10cb007109"),
        bytes.fromhex("0081000000000e10a2c1a2c200001c20"),
        bytes.fromhex("0081000200000e10"),
    ]


def _pcp(data: bytes) -> None:
    answer = pcp.decodeAnswer(data)
    mapping = answer.mapping
    require(mapping is not None or answer.result != pcp.SUCCESS, "success has a mapping")
    if mapping is not None:
        host = str(IPv4Address(mapping.host))
        require(host == mapping.host, "a host is canonical")
        again = pcp.encodeMap(
            "0.0.0.0", mapping.nonce, mapping.internalPort, mapping.externalPort, answer.lifetime, host
        )
        require(answer.result or again[24:37] == data[24:37], "a mapping is written as it was read")


def _pcpSeeds() -> Sequence[bytes]:
    body = pcp.encodeMap("192.168.1.2", _NONCE, 41641, 41641, 7200, "203.0.113.9")[24:]
    header = bytes.fromhex("0281000000001c2000000e10") + bytes(12)
    return [
        header + body,
        header[:3] + b"\2" + header[4:] + body,
        header[:3] + b"\2" + header[4:],
        bytes.fromhex("0081000100000e10"),
    ]


def _atRouter(place: Place) -> None:
    require(place.host == _ROUTER and 1 <= place.port <= 65535, "a place is at the router")
    text = str(place)
    require(text.isascii() and text.isprintable() and " " not in text, "a place is visible ASCII")
    require(text.startswith(f"http://{_ROUTER}:{place.port}/"), "a place is a URL of the router")


def _ssdp(data: bytes) -> None:
    _atRouter(decodeAnswer(data, _ROUTER))


def _ssdpSeeds() -> Sequence[bytes]:
    answer = "HTTP/1.1 200 OK\r\nST: {}\r\nLOCATION: {}\r\n\r\n"
    return [
        *(
            answer.format(SEARCHED[0], url).encode()
            for url in (_PLACE, f"http://{_ROUTER}", "http://192.168.1.2/")
        ),
        encodeSearch(SEARCHED[1]),
    ]


def _description(data: bytes) -> None:
    services = parseDescription(data, _PLACE)
    require(len(services) <= 4, "there are 4 services at most")
    for service in services:
        _atRouter(service.control)
        require(service.type.startswith(_URN), "a type is one that is known")
        with accepting("a call is well-formed"):
            parseXml(encodeCall(service, "Get", {"A": f"<&>{service.control}"}))
    if not services:
        raise DecodeError("nothing")


def _descriptionSeeds() -> Sequence[bytes]:
    one = "<service><serviceType>{}{}</serviceType><controlURL>{}</controlURL></service>"
    return [
        f'<?xml version="1.0"?><root xmlns="x">{base}<a:d>{one.format(_URN, kind, url)}<!-- x --></a:d></root>'.encode()
        for base in ("", f"<URLBase>http://{_ROUTER}/x/</URLBase>")
        for kind in ("WANIPConnection:1", "WANPPPConnection:1", "WANIPConnection:2")
        for url in ("/ctl", "a?b&amp;c", f"http://{_ROUTER}:80/", "http://192.168.1.2/")
    ]


def _reply(data: bytes) -> None:
    answer = decodeReply(data, "Get")
    if isinstance(answer, Fault):
        require(0 <= answer.code <= 999 and answer.reason.isprintable(), "a fault has a code and a line")


def _replySeeds() -> Sequence[bytes]:
    envelope = '<s:Envelope xmlns:s="x"><s:Body>{}</s:Body></s:Envelope>'
    fault = "<s:Fault><detail><UPnPError><errorCode>718</errorCode></UPnPError></detail></s:Fault>"
    return [envelope.format(inside).encode() for inside in ("<u:GetResponse><A>1</A></u:GetResponse>", fault)]


TARGETS = [
    Target("nat-pmp", lambda: _natpmp, _natpmpSeeds, maximum=64),
    Target("pcp", lambda: _pcp, _pcpSeeds, maximum=128),
    Target("ssdp", lambda: _ssdp, _ssdpSeeds, maximum=1024),
    Target("igd-description", lambda: _description, _descriptionSeeds),
    Target("igd-reply", lambda: _reply, _replySeeds),
]

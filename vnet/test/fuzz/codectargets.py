"""
Targets: the codecs that are pure functions.
"""

from __future__ import annotations

import itertools
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from vnet.errors import DecodeError
from vnet.protocols.codec import signal, stun
from vnet.protocols.codec import stunattributes as attributes
from vnet.protocols.codec.arp import REPLY, REQUEST, ArpPacket, decodeArp, encodeArp
from vnet.protocols.codec.handshake import (
    CookieReply,
    Initiation,
    Response,
    decodeHandshake,
    encodeHandshake,
)
from vnet.protocols.codec.icmp import Echo, decodeEcho, encodeEcho, encodeUnreachable
from vnet.protocols.codec.ip import (
    checksum,
    decodeIp,
    encodeIp4,
    encodeIp6,
    transportChecksum6,
    upperLayer6,
)
from vnet.protocols.codec.names import displayable, validateName, validateNick
from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.ndp import (
    UNSPECIFIED,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    decodeAdvertisement,
    decodeSolicitation,
    encodeAdvertisement,
    encodeSolicitation,
    isNeighbourDiscovery,
    solicitedNode,
)
from vnet.protocols.codec.prefix import parsePrefix, sharablePrefix
from vnet.protocols.codec.transport import decodeTransport, encodeTransport
from vnet.protocols.codec.url import Invite, MediatorUrl, parseInvite, parseMediatorUrl
from vnet.protocols.demux import Kind, classify
from vnet.protocols.machine.bindingresponse import GROWTH, bindingResponse, isBindingRequest
from vnet.protocols.machine.stunorigins import Origins
from vnet.test.fuzz.target import Target, accepting, require
from vnet.test.hostile import HARM, hostileTexts
from vnet.values import Address, Candidate

__all__ = ["TARGETS", "mendIp", "mendStun", "signalSeeds", "textOf"]

_A4, _B4 = bytes((100, 64, 0, 1)), bytes((100, 64, 0, 2))
_A6, _B6 = bytes.fromhex("fd" + "00" * 14 + "01"), bytes.fromhex("fd" + "00" * 14 + "02")
_MAC, _MAC2 = bytes.fromhex("027664400001"), bytes.fromhex("027664400002")
_KEY = b"the key of the integrity"
_SOURCES = (Address("192.0.2.1", 1000), Address("2001:db8::1", 1000))


def _attempt(*decoders: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """
    Give the input to each, also when one before does not take it.
    """

    def check(data: bytes) -> None:
        for decode in decoders:
            try:
                decode(data)
            except DecodeError:
                continue

    return check


# STUN


def _stun(data: bytes) -> None:
    message = stun.decode(data)
    require(classify(data) in (Kind.STUN, Kind.WIREGUARD), "what can be decoded is classified")
    authentic = stun.authenticate(message, _KEY)
    if authentic is not None:
        require(set(authentic.attributes) <= set(message.attributes), "what is authentic was in the message")
    if isBindingRequest(message):
        for source, own in itertools.product(_SOURCES, (None, *_OWN)):
            response = bindingResponse(message, source, _ORIGINS, own)
            answer = stun.encode(response.message, fingerprint=attributes.FINGERPRINT in message)
            require(len(answer) <= GROWTH * len(data), "an answer is at most 3 times the request")
            require(response.origin is None or response.origin in _ORIGINS, "there is what answers")
            with accepting("an answer is a STUN message"):
                stun.decode(answer)


def _origins() -> Origins[Address]:
    origins: Origins[Address] = Origins()
    for host, other in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
        origins.pairHosts(host, other)
        for each in itertools.product((host, other), (3478, 3479)):
            origins.add(Address(*each), Address(*each))
    origins.pairPorts(3478, 3479)
    return origins


_ORIGINS = _origins()
_OWN = (Address("192.0.2.1", 3478), Address("2001:db8::2", 3479), Address("192.0.2.9", 3478))


def _stunSeeds() -> Sequence[bytes]:
    identifier = bytes(range(12))
    address4, address6 = _SOURCES
    algorithm = attributes.PasswordAlgorithm(2)
    each: list[attributes.Attribute[Any]] = [
        attributes.MAPPED_ADDRESS(address4),
        attributes.CHANGE_REQUEST(attributes.ChangeRequest(True, False)),
        attributes.USERNAME("frag:ment"),
        attributes.ERROR_CODE(attributes.ErrorCode(420, "Unknown")),
        attributes.UNKNOWN_ATTRIBUTES((1, 2, 3)),
        attributes.REALM("realm"),
        attributes.NONCE("nonce"),
        attributes.PASSWORD_ALGORITHM(algorithm),
        attributes.PASSWORD_ALGORITHMS((attributes.PasswordAlgorithm(1), algorithm)),
        attributes.USERHASH(bytes(32)),
        attributes.XOR_MAPPED_ADDRESS(address6),
        attributes.PRIORITY(1 << 30),
        attributes.USE_CANDIDATE(True),
        attributes.PADDING(bytes(5)),
        attributes.RESPONSE_PORT(3478),
        attributes.SOFTWARE("vnet"),
        attributes.ALTERNATE_SERVER(address6),
        attributes.ICE_CONTROLLED(1),
        attributes.ICE_CONTROLLING(2),
        attributes.RESPONSE_ORIGIN(address4),
        attributes.OTHER_ADDRESS(address6),
    ]
    messages = [
        stun.Message(stun.BINDING, kind, identifier, held)
        for kind in stun.Class
        for held in ((), tuple(each), tuple(each[:4]), (each[2], each[11], each[18]))
    ]
    return [
        *(stun.encode(message) for message in messages),
        *(stun.encode(message, key=_KEY, fingerprint=True) for message in messages),
        *(stun.encode(message, key=_KEY, key256=_KEY, fingerprint=True) for message in messages),
        *(stun.encode(stun.Message(stun.BINDING, stun.Class.REQUEST, identifier, (one,))) for one in each),
    ]


def mendStun(data: bytes) -> bytes:
    """
    Header and length, and a fingerprint that is last.
    """
    body = data[20:]
    body += bytes(-len(body) % 4)
    kind = bytes((data[0] & 0x3F, data[1])) if len(data) > 1 else b"\0\1"
    identifier = data[8:20].ljust(12, b"\0")
    mended = (
        kind + len(body).to_bytes(2, "big") + attributes.MAGIC_COOKIE.to_bytes(4, "big") + identifier + body
    )
    if mended[-8:-4] == b"\x80\x28\0\4":
        mended = mended[:-4] + (zlib.crc32(mended[:-8]) ^ 0x5354554E).to_bytes(4, "big")
    return mended


# WireGuard


def _wireguardMessage(data: bytes) -> None:
    try:
        header = decodeTransport(data)
    except DecodeError:
        require(
            encodeHandshake(decodeHandshake(data)) == data, "a handshake message is written as it was read"
        )
    else:
        require(encodeTransport(header) == data[:16], "a transport header is written as it was read")


def _wireguardSeeds() -> Sequence[bytes]:
    return [
        encodeHandshake(Initiation(1, bytes(32), bytes(48), bytes(28))),
        encodeHandshake(Response(1, 2, bytes(32), bytes(16))),
        encodeHandshake(CookieReply(1, bytes(24), bytes(32))),
        b"\4\0\0\0" + bytes(28),
        b"\4\0\0\0" + bytes(range(44)),
    ]


# The inner packets


def mendIp(data: bytes) -> bytes:
    """
    Version, lengths, and the checksum of ICMP.
    """
    if len(data) < 40:
        return data
    packet = bytearray(data)
    if packet[0] & 0x20:
        packet[0] = 0x60 | packet[0] & 15
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
        if packet[6] == 58 and len(packet) >= 44:
            packet[42:44] = b"\0\0"
            total = transportChecksum6(bytes(packet[8:24]), bytes(packet[24:40]), 58, bytes(packet[40:]))
            packet[42:44] = total.to_bytes(2, "big")
        return bytes(packet)
    start = max(20, (packet[0] & 15) * 4)
    packet[0] = 0x40 | start // 4
    packet[2:4] = len(packet).to_bytes(2, "big")
    if packet[9] == 1 and len(packet) >= start + 4:
        packet[start + 2 : start + 4] = b"\0\0"
        packet[start + 2 : start + 4] = checksum(bytes(packet[start:])).to_bytes(2, "big")
    return bytes(packet)


def _ip(data: bytes) -> None:
    _attempt(upperLayer6, isNeighbourDiscovery)(data)
    header = decodeIp(data)
    require(
        header.headerLength <= header.totalLength <= len(data), "lengths are those of the bytes there are"
    )
    ip_address(header.source)
    ip_address(header.destination)


def _ipSeeds() -> Sequence[bytes]:
    extensions = (
        b"\x2c\0" + bytes(6) + b"\x3c\0\0\0" + bytes(4) + b"\x33\0" + bytes(6) + b"\x3a\1" + bytes(10)
    )
    return [
        encodeIp4(_A4, _B4, 17, b"\x04\xd2\0\x35\0\x0c\0\0data"),
        encodeIp4(_A4, _B4, 6, bytes(20)),
        encodeIp6(_A6, _B6, 17, b"\x04\xd2\0\x35\0\x0c\0\0data"),
        encodeIp6(_A6, _B6, 0, extensions + b"\x88\0\0\0" + bytes(20)),
        *_icmpSeeds(),
        *_ndpSeeds(),
    ]


def _arp(data: bytes) -> None:
    require(encodeArp(decodeArp(data)) == data[:28], "an ARP packet is written as it was read")


def _arpSeeds() -> Sequence[bytes]:
    return [encodeArp(ArpPacket(kind, _MAC, _A4, bytes(6), _B4)) for kind in (REQUEST, REPLY)]


def _mendArp(data: bytes) -> bytes:
    return _arpSeeds()[0][:6] + data[6:]


def _ndp(data: bytes) -> None:
    _attempt(isNeighbourDiscovery)(data)
    try:
        solicitation = decodeSolicitation(data)
    except DecodeError:
        advertisement = decodeAdvertisement(data)
        with accepting("an advertisement that was written is read"):
            again = decodeAdvertisement(encodeAdvertisement(advertisement))
        require(again == advertisement, "an advertisement stays")
    else:
        with accepting("a solicitation that was written is read"):
            require(
                decodeSolicitation(encodeSolicitation(solicitation)) == solicitation, "a solicitation stays"
            )


def _ndpSeeds() -> Sequence[bytes]:
    group = solicitedNode(_B6)
    return [
        encodeSolicitation(NeighbourSolicitation(_A6, group, _B6, _MAC)),
        encodeSolicitation(NeighbourSolicitation(_A6, _B6, _B6)),
        encodeSolicitation(NeighbourSolicitation(UNSPECIFIED, group, _B6)),
        encodeAdvertisement(NeighbourAdvertisement(_B6, _A6, _B6, _MAC2, True)),
        encodeAdvertisement(
            NeighbourAdvertisement(_B6, bytes.fromhex("ff02" + "00" * 13 + "01"), _B6, None, solicited=False)
        ),
    ]


def _icmp(data: bytes) -> None:
    try:
        error = encodeUnreachable(data)
    except DecodeError:
        error = b""
    if error:
        with accepting("an error is a packet, and is for one"):
            header, original = decodeIp(error), decodeIp(data)
        require(header.destination == original.source, "an error goes to the sender")
        require(len(error) <= 548 + 48, "an error quotes no more than it may")
    echo = decodeEcho(data)
    with accepting("an echo that was written is read"):
        require(decodeEcho(encodeEcho(echo)) == echo, "an echo stays")


def _icmpSeeds() -> Sequence[bytes]:
    return [
        encodeEcho(Echo(source, destination, 7, 1, b"data", reply))
        for source, destination in ((_A4, _B4), (_A6, _B6))
        for reply in (False, True)
    ]


# Signals


def _signal(data: bytes) -> None:
    read = signal.decode(data)
    for candidate in read.candidates:
        require(str(ip_address(candidate.address.host)) == candidate.address.host, "a host is canonical")
    try:
        written = signal.encode(read)
    except ValueError as error:
        # Four bytes of an IPv4-mapped address come back as four, so it never grows.
        raise AssertionError("a signal that was read can be written") from error
    with accepting("a signal that was written is read"):
        require(signal.decode(written) == read, "a signal stays")


def signalSeeds() -> Sequence[bytes]:
    """
    Plaintexts of signals.
    """
    credentials = signal.Credentials("ufrag", "p" * 24)
    candidates = [
        Candidate("host", Address("192.168.1.2", 4000), 2130706431, "1"),
        Candidate("srflx", Address("203.0.113.4", 4000), 1694498815, "2"),
        Candidate("prflx", Address("2001:db8::1", 4000), 1694498814, "3"),
        Candidate("relay", Address("198.51.100.4", 3478), 16777215, "4"),
    ]
    traits = Traits("endpoint-independent", "address-dependent", "block", True, 1, 2000, 2511, "203.0.113.4")
    blocked = Traits(blocked=True, natless=True)
    predictions = [
        Prediction(9, kind, "203.0.113.4", 4000, 4010, -2, 3) for kind in ("exact", "ports", "next")
    ]
    return [
        signal.encode(signal.Signal(start, credentials, tuple(candidates[:count]), final, nat[0], nat[1]))
        for start in (0, 1 << 63)
        for count in range(5)
        for final in (False, True)
        for nat in ((None, None), (blocked, None), *((traits, each) for each in (None, *predictions)))
    ]


# Text


def textOf(data: bytes) -> str:
    """
    Any bytes as text: what is not UTF-8 becomes halves of surrogate pairs, as in C{sys.argv}.
    """
    return data.decode("utf-8", "surrogateescape")


def _harmless(error: DecodeError) -> None:
    text = str(error)
    require(text and text.isprintable() and len(text) < 300, "a refusal is one short line")


def _mediatorUrl(data: bytes) -> None:
    try:
        url = parseMediatorUrl(textOf(data))
    except DecodeError as error:
        _harmless(error)
        raise
    with accepting("a URL that was written is read"):
        require(parseMediatorUrl(str(url)) == url, "the canonical text of a URL is the same URL")


def _invite(data: bytes) -> None:
    try:
        invite = parseInvite(textOf(data))
    except DecodeError as error:
        _harmless(error)
        raise
    with accepting("an invitation that was written is read"):
        require(parseInvite(str(invite)) == invite, "the canonical text of an invitation is the same")


_URLS = [
    MediatorUrl("mediator.example"),
    MediatorUrl("192.0.2.1", 443, bytes(range(32))),
    MediatorUrl("2001:db8::1", 7443, bytes(32)),
]


def _mediatorSeeds() -> Sequence[bytes]:
    return [
        *(str(url).encode() for url in _URLS),
        "vnet://bücher.example.:1#sha256-".encode(),
        b" VNET://[::ffff:192.0.2.1]:65535 ",
        b"vnet://xn--bcher-kva.example",
    ]


def _inviteSeeds() -> Sequence[bytes]:
    made = [
        str(Invite(url, name, secret)).encode()
        for url in _URLS
        for name in ("home", "a/b c", "B\u00fccher \U0001f600")
        for secret in (None, bytes(range(32)))
    ]
    return [b"vnet://mediator.example/a%2Fb%20c%25", *made]


def _names(data: bytes) -> None:
    text = textOf(data)
    for width in (1, 64):
        shown = displayable(text, width)
        require(not HARM.search(shown) and "\n" not in shown, "what is shown harms no terminal")
        shown.encode("utf-8")
        cells = sum(
            1 + (unicodedata.east_asian_width(character) in "WF")
            for character in shown
            if unicodedata.category(character)[0] != "M"
        )
        require(cells <= width, "what is shown has room where it is shown")
    try:
        name = validateName(text)
    except DecodeError as error:
        _harmless(error)
        raise
    require(1 <= len(name) <= 64 and name.isprintable() and name == name.strip(), "a name is one")
    with accepting("a valid name is valid once more"):
        require(validateName(name) == name == validateNick(text), "a valid name stays")
    require(displayable(name, 128) == name, "a valid name is shown as it is")


def _nameSeeds() -> Sequence[bytes]:
    plain = [
        "home",
        "B\u00fccher",
        "\u6771\u4eac",
        "e\u0301\u0302",
        "\U0001f600",
        "\u0645\u0631\u062d\u0628\u0627",
        "\uac00" * 64,
    ]
    return [text.encode("utf-8", "surrogatepass")[:256] for text in (*plain, *hostileTexts(300))]


def _prefix(data: bytes) -> None:
    text = textOf(data)
    try:
        prefix = sharablePrefix(text)
    except DecodeError as error:
        _harmless(error)
        raise
    with accepting("a prefix that is shared is one once more"):
        require(parsePrefix(str(prefix)) == sharablePrefix(str(prefix)) == prefix, "a prefix stays")
    require(prefix.prefixlen >= (8 if prefix.version == 4 else 32), "nobody shares too much")
    require(not prefix.is_multicast and not prefix.is_loopback, "what is shared may be a LAN")
    require(len(str(prefix)) <= 43, "a prefix has room in the database")


def _prefixSeeds() -> Sequence[bytes]:
    return [
        each.encode()
        for each in (
            "192.168.7.0/24",
            "10.1.2.3",
            "fd00:7::/64",
            "2001:db8:1:2:3:4:5:6",
            "::ffff:1.2.3.4/120",
        )
    ]


TARGETS = [
    Target("stun", lambda: _stun, _stunSeeds, mendStun),
    Target("wireguard-messages", lambda: _wireguardMessage, _wireguardSeeds, maximum=256),
    Target("ip", lambda: _ip, _ipSeeds, mendIp),
    Target("arp", lambda: _arp, _arpSeeds, _mendArp, 128),
    Target("ndp", lambda: _ndp, _ndpSeeds, mendIp, 512),
    Target("icmp", lambda: _icmp, _icmpSeeds, mendIp),
    Target("signal", lambda: _signal, signalSeeds),
    Target("mediator-url", lambda: _mediatorUrl, _mediatorSeeds, maximum=512),
    Target("invite", lambda: _invite, _inviteSeeds, maximum=512),
    Target("names", lambda: _names, _nameSeeds, maximum=256),
    Target("prefix", lambda: _prefix, _prefixSeeds, maximum=80),
]

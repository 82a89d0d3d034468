# -*- test-case-name: vnet.test.test_ssdp -*-
"""
SSDP, the search of UPnP (UPnP Device Architecture 1.1 section 1.3), as far as a router is sought: HTTP's header in one
datagram::

    M-SEARCH * HTTP/1.1                                        HTTP/1.1 200 OK
    HOST: 239.255.255.250:1900                                 ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1
    MAN: "ssdp:discover"                                       LOCATION: http://192.168.1.1:5000/rootDesc.xml
    MX: 1                                                      ...
    ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1

A L{Place} is where such a URL leads.  It is always at the host that was asked: a router that names another one, a name, or
another scheme than C{http} is not believed.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import attrs

from vnet.errors import DecodeError

__all__ = ["GROUP", "PORT", "TARGETS", "Place", "decodeAnswer", "encodeSearch", "parsePlace"]

GROUP = "239.255.255.250"
PORT = 1900

TARGETS = tuple(f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2))
"""What is sought: a router of either version."""

_LONGEST = 2048
_URL = re.compile(r"[\x21-\x7e]{1,512}")
_LINE = re.compile(rb"([A-Za-z0-9._-]+)[ \t]*:[ \t]*(.*?)[ \t]*\r?")


@attrs.frozen
class Place:
    """
    Where something is by HTTP.

    @ivar host: an IPv4 address.
    @ivar target: path and query, visible ASCII; begins with C{/}.
    """

    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}{self.target}"


def parsePlace(text: str, host: str, base: Place | None = None) -> Place:
    """
    Read a URL of a router.

    @param host: the router, the only host that the URL may lead to.
    @param base: what a relative URL is relative to.
    @raise DecodeError: it is no URL, or leads elsewhere.
    """
    if not _URL.fullmatch(text):
        raise DecodeError("no URL")
    try:
        parts = urlsplit(urljoin(str(base), text) if base is not None else text)
        port = parts.port
    except ValueError:
        raise DecodeError("no URL") from None
    if parts.scheme != "http" or parts.username is not None or parts.hostname != host or port == 0:
        raise DecodeError("a URL that does not lead to the router")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, 80 if port is None else port, target)


def encodeSearch(target: str) -> bytes:
    """
    Search for devices of a kind.
    """
    lines = ("M-SEARCH * HTTP/1.1", f"HOST: {GROUP}:{PORT}", 'MAN: "ssdp:discover"', "MX: 1", f"ST: {target}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def decodeAnswer(data: bytes, host: str) -> Place:
    """
    Read the answer to a search.

    @param host: who answered.
    @return: where the description of the device is.
    @raise DecodeError: it is no answer of a router, or leads to another host.
    """
    if len(data) > _LONGEST:
        raise DecodeError("an answer that is too long")
    lines = data.split(b"\n")
    if not re.fullmatch(rb"HTTP/1\.[01] +200\b.*", lines[0].rstrip(b"\r"), re.S):
        raise DecodeError("no answer to a search")
    found: dict[bytes, str] = {}
    for line in lines[1:]:
        header = _LINE.fullmatch(line)
        if header is not None:
            found.setdefault(header[1].lower(), header[2].decode("latin-1"))
    if found.get(b"st") not in TARGETS:
        raise DecodeError("not what was sought")
    return parsePlace(found.get(b"location", ""), host)

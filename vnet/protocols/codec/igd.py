# -*- test-case-name: vnet.test.test_igd -*-
"""
UPnP's Internet Gateway Device (IGD:1 and IGD:2): the description of a router, and the calls of its services
C{WANIPConnection:1} and C{:2} and C{WANPPPConnection:1}, which are SOAP 1.1 over HTTP::

    POST <controlURL>                                     SOAPACTION: "<serviceType>#<action>"

    <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="...">
      <s:Body>
        <u:AddPortMapping xmlns:u="<serviceType>">  <NewExternalPort>41641</NewExternalPort> ...  </u:AddPortMapping>
      </s:Body>
    </s:Envelope>

The answer has C{<u:AddPortMappingResponse>} with the results in the same place, or C{<s:Fault>} with an C{<errorCode>}.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.plainxml import Element, parseXml
from vnet.protocols.codec.ssdp import Place, parsePlace

__all__ = [
    "CONFLICT",
    "FAULTS",
    "NO_SUCH_ENTRY",
    "ONLY_PERMANENT",
    "SAME_PORTS",
    "Fault",
    "Service",
    "decodeReply",
    "encodeCall",
    "parseDescription",
]

NO_SUCH_ENTRY = 714
CONFLICT = 718
SAME_PORTS = 724
ONLY_PERMANENT = 725

FAULTS = {
    402: "it cannot read the request",
    501: "it failed to do it",
    606: "it does not permit a mapping",
    CONFLICT: "the port is taken",
    SAME_PORTS: "it maps a port to the same one only",
    ONLY_PERMANENT: "it knows permanent mappings only",
    728: "it has no room for one more mapping",
    729: "the port is taken in another way",
}
"""What error codes mean, for a person."""

_SERVICE = "urn:schemas-upnp-org:service:"
# The best first.
_TYPES = tuple(_SERVICE + name for name in ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"))
_SERVICES = 4
_ENVELOPE = (
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{service}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)


@attrs.frozen
class Service:
    """
    A connection of a router to the Internet, whose mappings can be changed.

    @ivar type: its URN.
    @ivar control: where its calls go.
    """

    type: str
    control: Place

    @property
    def choosesPorts(self) -> bool:
        """Whether it has C{AddAnyPortMapping}."""
        return self.type == _TYPES[0]


@attrs.frozen
class Fault:
    """
    A call failed.

    @ivar code: 401 to 899; 0 when the router does not say.
    """

    code: int

    @property
    def reason(self) -> str:
        """Why, for a person."""
        return FAULTS.get(self.code, f"error {self.code}")


def parseDescription(data: bytes, place: Place) -> tuple[Service, ...]:
    """
    Read the description of a router.

    @param place: where it came from.
    @return: its services that can map ports, the best first, 4 at most; those that would lead to another host are left out.
    @raise DecodeError: it is no description.
    """
    root = parseXml(data)
    base = place
    if text := root.childText("URLBase"):
        base = parsePlace(text, place.host)
    found: list[Service] = []
    for element in root.named("service"):
        kind = element.childText("serviceType")
        if kind in _TYPES:
            try:
                found.append(Service(kind, parsePlace(element.childText("controlURL"), place.host, base)))
            except DecodeError:
                continue
    return tuple(sorted(dict.fromkeys(found), key=lambda each: _TYPES.index(each.type))[:_SERVICES])


def encodeCall(service: Service, action: str, arguments: Mapping[str, object]) -> bytes:
    """
    Write a call, UTF-8.

    @param arguments: in the order of the service's description.
    """
    inside = "".join(
        f"<{name}>{escape(str(value), quote=False)}</{name}>" for name, value in arguments.items()
    )
    return _ENVELOPE.format(action=action, service=service.type, arguments=inside).encode()


def decodeReply(data: bytes, action: str) -> dict[str, str] | Fault:
    """
    Read the answer to a call.

    @return: the results by name.
    @raise DecodeError: it is no answer to this call.
    """
    root = parseXml(data)
    body = next(root.named("Body"), None)
    if root.name != "Envelope" or body is None:
        raise DecodeError("no answer to a call")
    if (fault := next(body.named("Fault"), None)) is not None:
        return Fault(_code(fault))
    response = next((each for each in body.children if each.name == f"{action}Response"), None)
    if response is None:
        raise DecodeError("no answer to this call")
    return {each.name: each.text for each in response.children}


def _code(fault: Element) -> int:
    text = next((each.text for each in fault.named("errorCode")), "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0

# -*- test-case-name: vnet.test.test_natwording -*-
"""
Sentences about the NAT in front of a node, from the JSON of C{netcheck}: what it does, and what that means for its user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnet.client.wording import shown, udpAddress

__all__ = ["ipv6Summary", "natLines", "natSummary"]

_PORTS = {
    "endpoint-independent": "one for all destinations",
    "address-dependent": "another for each address",
    "address-and-port-dependent": "another for each address and port",
}
_FILTERS = {
    "endpoint-independent": "anybody",
    "address-dependent": "addresses that something was sent to",
    "address-and-port-dependent": "only addresses and ports that something was sent to",
}
_VARYING = {
    "sequential": ", one after the other",
    "random": ", at random",
    "block": ", at random out of few",
}
_PROTOCOLS = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}
# Mappings of others a second above which the next port is hard to tell.
_NOISY = 50.0

_EVERYONE = "Direct links work with nearly everyone."
_FORWARD = "Forwarding a UDP port on the router to this computer (vnet-client --port), or switching on UPnP there, would help."
_CARRIER = (
    "It is the provider's NAT, where no port can be forwarded: a public address from the provider, or IPv6 on both sides, "
    "would help."
)


def natSummary(report: Mapping[str, Any]) -> str:
    """
    What the NAT in front of this computer means for its user, in few sentences.

    @param report: the JSON of C{netcheck}.
    """
    public = udpAddress(report.get("publicAddress"))
    if report.get("udp") is None:
        return "Not known yet: it is seen some seconds after this computer has gone online."
    if not report["udp"]:
        return (
            "UDP does not get out: a firewall here seems to block it, so all traffic with peers outside of this local network is "
            "relayed over TCP. Allow outgoing UDP."
        )
    if public is None:
        return "UDP gets out over IPv6 only: peers that have IPv6 can connect directly."
    if report.get("natted") is False:
        wall = " behind a firewall that lets in answers only" if _filters(report) else ""
        return f"No NAT: this computer is on the Internet itself, at {public}{wall}. {_EVERYONE}"
    if _forwarded(report):
        return f"Behind a NAT that forwards a UDP port to this computer, seen as {public}. {_EVERYONE}"
    if _varies(report):
        return _hardSummary(report, public)
    if report.get("mappingVaries") is None and report.get("mapping") is None:
        return f"Behind a NAT, seen as {public}. Direct links work with most."
    return f"Behind a NAT that keeps one port for all destinations, seen as {public}. {_EVERYONE}"


def _hardSummary(report: Mapping[str, Any], public: str) -> str:
    allocation, hosts, noise = report.get("allocation"), report.get("hosts"), report.get("noise")
    start = (
        f"Your NAT gives each destination another port{_VARYING.get(str(allocation), '')} (seen as {public})"
    )
    if isinstance(hosts, list) and len(hosts) > 1:
        start = f"Your NAT gives each destination another port, and sometimes another public address (seen as {public})"
    elif allocation == "sequential":
        if not isinstance(noise, int | float) or noise < _NOISY:
            return f"{start}: vnet predicts it, and direct links work with most."
        return f"{start}, but others take many in between: direct links work with those whose NAT is easier."
    elif allocation == "block":
        return f"{start}, which vnet tries: direct links work with those whose NAT is easier. {_help(report)}"
    return f"{start}: direct links work only with those whose NAT is easier. {_help(report)}"


def _help(report: Mapping[str, Any]) -> str:
    return _CARRIER if report.get("shared") else _FORWARD


def _varies(report: Mapping[str, Any]) -> bool:
    mapping = report.get("mapping")
    return bool(report.get("mappingVaries")) if mapping is None else mapping != "endpoint-independent"


def _filters(report: Mapping[str, Any]) -> bool:
    return report.get("filtering") == "address-and-port-dependent"


def _forwarded(report: Mapping[str, Any]) -> bool:
    mapped = report.get("portMapping")
    carried = report.get("shared") and report.get("forwardedPort") != "open"
    return not carried and (report.get("forwardedPort") == "open" or isinstance(mapped, Mapping))


def natLines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    What is known, as names and values of a table.

    @param report: the JSON of C{netcheck}.
    """
    lines = [
        ("UDP", _either(report.get("udp"), "gets out", "is blocked") or "not known"),
        ("IPv4", f"seen as {udpAddress(report.get('publicAddress')) or 'nothing'}{_otherHosts(report)}"),
        ("IPv6", ipv6Summary(report)),
        ("NAT", _nat(report)),
        ("port", _port(report)),
        ("lets in", _FILTERS.get(str(report.get("filtering")), "not known")),
    ]
    optional = (
        ("ports", _ports(report)),
        ("hairpin", _either(report.get("hairpin"), "works", "does not work")),
        ("lifetime", _lifetime(report.get("lifetime"))),
        ("router", _router(report.get("portMapping"))),
        (
            "--port",
            {"open": "is forwarded", "closed": "is not forwarded"}.get(str(report.get("forwardedPort"))),
        ),
    )
    return [*lines, *((name, value) for name, value in optional if value)]


def _either(value: object, yes: str, no: str) -> str | None:
    return (yes if value else no) if isinstance(value, bool) else None


def _otherHosts(report: Mapping[str, Any]) -> str:
    hosts = report.get("hosts")
    if not isinstance(hosts, list) or len(hosts) < 2:
        return ""
    return f", also as {', '.join(shown(host, 64) for host in hosts[1:4])}"


def _nat(report: Mapping[str, Any]) -> str:
    natted = report.get("natted")
    if natted is None:
        return "not known"
    if not natted:
        return "none"
    return "one that the provider shares among customers" if report.get("shared") else "yes"


def _port(report: Mapping[str, Any]) -> str:
    mapping = report.get("mapping")
    if mapping is None and isinstance(report.get("mappingVaries"), bool):
        return (
            "another for each destination" if report["mappingVaries"] else "the same for all that were asked"
        )
    return _PORTS.get(str(mapping), "not known")


def _ports(report: Mapping[str, Any]) -> str | None:
    allocation, ports = report.get("allocation"), report.get("ports")
    if allocation == "sequential":
        text = f"one after the other, in steps of {shown(report.get('step'))}"
        noise = report.get("noise")
        return f"{text}; others take about {shown(noise)} a second" if noise else text
    if allocation == "block" and isinstance(ports, list) and len(ports) == 2:
        return f"at random from about {shown(ports[0])} to {shown(ports[1])}"
    return {"preserving": "those of this computer", "random": "at random", "block": "at random"}.get(
        str(allocation)
    )


def _lifetime(seconds: object) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return f"a silent path is kept for {seconds:.0f} s"


def _router(mapping: object) -> str | None:
    if not isinstance(mapping, Mapping):
        return None
    protocol = _PROTOCOLS.get(str(mapping.get("protocol")), shown(mapping.get("protocol")))
    return f"forwards {udpAddress(mapping.get('address')) or 'a port'} to this computer ({protocol})"


def ipv6Summary(report: Mapping[str, Any]) -> str:
    """
    Whether there is IPv6 to the Internet.
    """
    public = udpAddress(report.get("publicAddress6"))
    return f"seen as {public}" if public else "not available"

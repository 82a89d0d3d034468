# -*- test-case-name: vnet.test.test_proxychoice -*-
"""
Which proxy a connection goes through: the one of C{--proxy}, or that of the environment, as other programs have it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from twisted.logger import Logger

from vnet.errors import ConfigurationError, DecodeError

if TYPE_CHECKING:
    from vnet.protocols.codec.proxyurl import Proxy

__all__ = ["Exemptions", "ProxyChoice", "chooseProxy", "parseExemptions", "readPassword"]

VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""Where a proxy is named; the first that is not empty counts."""

EXEMPTING = ("no_proxy", "NO_PROXY")
"""Where it is said what is reached without."""

_MAXIMUM_PASSWORD = 1024
_log = Logger()


def _asAddress(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


@frozen
class Exemptions:
    """
    What is reached without a proxy.

    @ivar names: names of hosts and domains, in lower case and without a dot before them, and the port; 0: any.
    @ivar networks: the same for IP addresses.
    """

    everything: bool = False
    names: tuple[tuple[str, int], ...] = ()
    networks: tuple[tuple[IPv4Network | IPv6Network, int], ...] = ()

    def hold(self, host: str, port: int) -> bool:
        """
        Whether a host is one of these.

        @param host: a name or an IP literal.
        """
        address = _asAddress(host)
        if address is None:
            name = host.lower().removesuffix(".")
            return self.everything or any(
                (name == each or name.endswith(f".{each}")) and only in (0, port) for each, only in self.names
            )
        return self.everything or any(address in each and only in (0, port) for each, only in self.networks)


def parseExemptions(text: str) -> Exemptions:
    """
    Read C{no_proxy}: names, which stand for their subdomains too, IP addresses, blocks in CIDR form, or C{*}, apart by
    commas or spaces; each may have C{:PORT}.  What cannot be read exempts nothing.
    """
    names: list[tuple[str, int]] = []
    networks: list[tuple[IPv4Network | IPv6Network, int]] = []
    entries = text.replace(",", " ").split()
    for entry in entries:
        host, port = _split(entry)
        try:
            networks.append((ip_network(host.removeprefix("[").removesuffix("]"), strict=False), port))
        except ValueError:
            name = host.lower().removeprefix("*").removeprefix(".").removesuffix(".")
            names += [(name, port)] if name else []
    return Exemptions("*" in entries, tuple(names), tuple(networks))


def _split(entry: str) -> tuple[str, int]:
    host, colon, port = entry.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if colon and port.isascii() and port.isdigit() and (bracketed or ":" not in host):
        return host, int(port)
    return entry, 0


@frozen
class ProxyChoice:
    """
    The proxy, and for what it is used.

    @ivar proxy: L{None}: there is none.
    @ivar origin: what named it: an option or a variable.
    """

    proxy: Proxy | None = None
    exemptions: Exemptions = Exemptions()
    origin: str = ""

    def proxyFor(self, host: str, port: int) -> Proxy | None:
        """
        The proxy through which a host is reached; L{None} for this computer itself, which no proxy reaches.
        """
        address = _asAddress(host)
        here = host.lower() == "localhost" if address is None else address.is_loopback
        return None if here or self.exemptions.hold(host, port) else self.proxy

    def withPassword(self, password: str) -> ProxyChoice:
        """
        The same with a password for the proxy.

        @raise DecodeError: there is no proxy, or it has no name, or a password already.
        """
        if self.proxy is None:
            raise DecodeError("there is no proxy that the password is for")
        return evolve(self, proxy=self.proxy.withPassword(password))


def chooseProxy(option: str | None, environment: Mapping[str, str]) -> ProxyChoice:
    """
    Choose the proxy.

    @param option: C{--proxy}; with it the environment does not count.  C{"none"}: there is none.
    @raise DecodeError: it is no proxy; the text says what named it, and does not quote it.
    """
    if option is not None:
        return ProxyChoice(None if option == "none" else _read("--proxy", option), origin="--proxy")
    for name in VARIABLES:
        if value := environment.get(name, "").strip():
            exempt = next((environment[each] for each in EXEMPTING if environment.get(each)), "")
            return ProxyChoice(_read(name, value), parseExemptions(exempt), name)
    return ProxyChoice()


def _read(origin: str, text: str) -> Proxy:
    # In memory only where there is a proxy.
    from vnet.protocols.codec.proxyurl import parseProxy

    try:
        return parseProxy(text)
    except DecodeError as error:
        hint = "" if origin.startswith("--") else " (--proxy=none ignores the environment)"
        raise DecodeError(f"{origin}: {error}{hint}") from None


def readPassword(path: str) -> str:
    """
    Read a password from the first line of a file.

    @raise ConfigurationError: it cannot be read, or is none.
    """
    try:
        with open(path, "rb") as file:
            # A pipe gives what it has: no more than one line is read.
            line = file.readline(_MAXIMUM_PASSWORD + 2).rstrip(b"\r\n")
            shared = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
        password = line.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"--proxy-password-file={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--proxy-password-file={path}: the password is not UTF-8") from None
    if not password or len(line) > _MAXIMUM_PASSWORD:
        raise ConfigurationError(f"--proxy-password-file={path}: there is no password in its first line")
    if shared:
        _log.warn("{path} can be read by others: chmod 600 keeps the password for itself", path=path)
    return password

# -*- test-case-name: vnet.test.test_listening -*-
"""
Where the mediator listens: an endpoint string, with TLS 1.3 of our own making in it.

C{tcp:} endpoints (and any other that is not C{ssl:}) serve the mediator's own certificate; C{ssl:} endpoints
bring an authority's, but not their own idea of TLS: what they give to C{listenSSL} is wrapped as ours is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorSSL, IReactorTCP, IReactorTime
from zope.interface import implementer

from vnet.errors import ConfigurationError
from vnet.protocols.controlserver import Gate
from vnet.protocols.machine.admission import Admission
from vnet.protocols.tls import ServerCreator, restrict, serverFactory

__all__ = ["Listener", "isAuthoritys", "parseListen", "whyNot"]

_ANY4, _ANY6 = "0.0.0.0", "::"


def isAuthoritys(description: str) -> bool:
    """
    Whether an endpoint brings its own certificate.
    """
    return description.startswith("ssl:")


def parseListen(description: str) -> str:
    """
    Check an endpoint string as far as this is possible without its files.

    @raise ValueError: it is none.
    """
    kind = description.partition(":")[0]
    if kind not in ("tcp", "tcp6", "ssl", "systemd"):
        raise ValueError(
            "--listen takes an endpoint: tcp:7443, tcp:7443:interface=IP, or "
            "ssl:7443:privateKey=FILE:certKey=FILE for a certificate of an authority"
        )
    return description


@implementer(IReactorTCP, IReactorSSL)
@define(eq=False)
class _Reactor:
    """
    What an endpoint sees as the reactor: the real one, but for listening.
    """

    _reactor: Any
    _secure: Callable[[Any, Any], Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """
        Listen, on IPv6 and IPv4 where no interface is named.
        """
        backlog = max(backlog, 1024)
        if interface == "":
            try:
                return self._listen(port, factory, backlog, _ANY6)
            except CannotListenError as error:
                if getattr(error.socketError, "errno", None) not in _NO_IPV6:
                    raise
        return self._listen(port, factory, backlog, interface or _ANY4)

    def _listen(self, port: int, factory: Any, backlog: int, interface: str) -> IListeningPort:
        listening: IListeningPort = self._reactor.listenTCP(port, factory, backlog, interface)
        return listening

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """
        Listen with the certificate of a context factory.
        """
        return self.listenTCP(port, self._secure(factory, contextFactory), backlog, interface)

    def connectTCP(self, *args: Any, **kwargs: Any) -> Any:
        """Nobody connects through this."""
        raise NotImplementedError

    def connectSSL(self, *args: Any, **kwargs: Any) -> Any:
        """Nobody connects through this."""
        raise NotImplementedError


# EAFNOSUPPORT, EADDRNOTAVAIL: a kernel without IPv6.
_NO_IPV6 = (97, 99)


@define(eq=False)
class Listener:
    """
    Listens with TLS.

    @ivar _factory: makes the protocols inside of TLS.
    @ivar _admission: who may connect.
    @ivar _own: the mediator's own certificate.
    """

    _reactor: Any
    _description: str
    _factory: Any
    _admission: Admission
    _own: ServerCreator
    _port: IListeningPort | None = field(default=None, init=False)

    def listen(self) -> Any:
        """
        Begin to listen.

        @return: the address.
        @raise ConfigurationError: it cannot be done; the text says why.
        """
        try:
            endpoint = serverFromString(_Reactor(self._reactor, self._wrapContext), self._description)
        except Exception as error:
            # Whatever the parser, the files or OpenSSL say.
            raise ConfigurationError(f"--listen={self._description}: {whyNot(error)}") from error
        factory: Any = self._factory
        if not isAuthoritys(self._description):
            factory = self._wrap(factory, self._own)
        failures: list[Any] = []
        endpoint.listen(factory).addCallbacks(self._listening, failures.append)
        if failures:
            raise ConfigurationError(
                f"cannot listen on {self._description}: {whyNot(failures[0].value)}"
            ) from failures[0].value
        if self._port is None:
            raise ConfigurationError(f"cannot listen on {self._description}")
        return self._port.getHost()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _wrap(self, factory: Any, creator: Any) -> Gate:
        clock: IReactorTime = self._reactor
        return Gate(serverFactory(creator, factory, clock), self._admission)

    def _wrapContext(self, factory: Any, contextFactory: Any) -> Gate:
        return self._wrap(factory, ServerCreator(restrict(contextFactory.getContext())))

    def stop(self) -> Deferred[None]:
        """
        Cease to listen.
        """
        port, self._port = self._port, None
        stopped = port.stopListening() if port is not None else None
        return stopped if stopped is not None else succeed(None)


def whyNot(error: BaseException) -> str:
    """
    Why an endpoint cannot listen, in one line for a person.
    """
    if isinstance(error, CannotListenError):
        socketError = error.socketError
        text = getattr(socketError, "strerror", None) or str(socketError)
        return "the port is in use by another program" if getattr(socketError, "errno", 0) == 98 else text
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, SSL.Error):
        return "the key or the certificate cannot be used, or they do not belong together"
    return " ".join(str(error).split()) or type(error).__name__

# -*- test-case-name: vnet.test.test_client_session -*-
"""
Which mediator this node is logged in to: the current session, and the attempt at another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from vnet.client.session import Session
from vnet.client.state import StateFile
from vnet.errors import Refused, Unreachable, VnetError
from vnet.protocols.codec.url import MediatorUrl, parseMediatorUrl
from vnet.values import Address

__all__ = ["Logins"]

_NOT_LOGGED_IN = "this node is not logged in: 'vnet login URL' first"


@define(eq=False, repr=False)
class Logins:
    """
    The sessions.  One that is there goes on until a new one has succeeded.

    @ivar _makeSession: makes the session with a mediator; it is not started.
    @ivar session: the current one; L{None} when this node is logged out.
    """

    _state: StateFile
    _makeSession: Callable[[MediatorUrl], Session]
    session: Session | None = field(default=None, init=False)
    _attempt: tuple[Session, MediatorUrl] | None = field(default=None, init=False)
    _error: str = field(default="", init=False)
    _realm: bytes = field(default=b"", init=False)

    @property
    def online(self) -> bool:
        """Whether the mediator is connected."""
        return self.session is not None and self.session.online

    @property
    def state(self) -> str:
        """C{"online"}, C{"connecting"} or C{"offline"}."""
        if self.online:
            return "online"
        return "offline" if self.session is None and self._attempt is None else "connecting"

    @property
    def error(self) -> str:
        """Why this node is not online, one line; may be empty."""
        return self.session.error if self.session is not None else self._error

    def resume(self) -> None:
        """
        Log in as the user wanted when the node last ran.
        """
        if self._state.remembered.online and self._state.remembered.mediator:
            self._open()

    def _open(self) -> None:
        self._error = ""
        self.session = self._makeSession(parseMediatorUrl(self._state.remembered.mediator))
        self.session.start()

    async def close(self) -> None:
        """
        Log out.
        """
        if self._attempt is not None:
            self._attempt[0].stop()
        session, self.session = self.session, None
        if session is not None:
            await session.leave()

    def adopt(self, session: Session) -> None:
        """
        A session is online: if it is the attempted one, it takes the place of the other.

        @raise Unreachable: nobody waits for it any more.
        @raise vnet.errors.StateError: the state cannot be written; the other stays.
        """
        if session is not self.session:
            self._takeOver(session)
        self._realm = session.welcome.realm if session.welcome is not None else b""

    def _takeOver(self, session: Session) -> None:
        if self._attempt is None or session is not self._attempt[0]:
            raise Unreachable("the login was given up")
        self._state.update(mediator=str(self._attempt[1]), online=True)
        old, self.session = self.session, session
        self._error = ""
        if old is not None:
            Deferred.fromCoroutine(old.leave())

    def replaced(self, session: Session) -> bool:
        """
        A session was ended by another one with the same key.

        @return: whether that was another computer: this node is logged out then.
        """
        if session is not self.session or self._attempt is not None:
            return False
        self._error, self.session = session.error, None
        return True

    async def login(self, url: MediatorUrl) -> None:
        """
        Log in.

        @raise Refused: the mediator, or this computer, refuses; C{Unreachable}: it is not there.
        """
        if self.online and self._state.remembered.mediator == str(url):
            return
        if self._attempt is None:
            await self._try(url)
        elif self._attempt[1] == url:
            await self._attempt[0].outcome()
        else:
            raise Refused("another login is under way: wait until it has ended")

    async def _try(self, url: MediatorUrl) -> None:
        session = self._makeSession(url)
        self._attempt = session, url
        try:
            session.start()
            await session.outcome()
        except VnetError as error:
            session.stop()
            if self.session is not None and (self.session.stopped or self._isHere(session)):
                # The attempt got as far as replacing it, whether it has been told so or not: the mediator is the same.
                self.session.stop()
                self._open()
            raise _named(error, url) from error
        finally:
            self._attempt = None

    def _isHere(self, session: Session) -> bool:
        return session.welcome is not None and session.welcome.realm == self._realm

    async def ask(self, command: Any, **arguments: Any) -> dict[str, Any]:
        """
        Ask the mediator.

        @raise Refused: it refuses.
        @raise Unreachable: it is not there.
        """
        if self.session is None:
            raise Unreachable(self._error or _NOT_LOGGED_IN)
        session = self.session
        answer = await session.call(command, **arguments)
        if session is not self.session:
            raise Unreachable("this node has logged out, or in again, meanwhile: try again")
        return answer

    def tell(self, command: Any, **arguments: Any) -> None:
        """
        Tell the mediator; if that fails, somebody's timer tries again.
        """
        told = Deferred.fromCoroutine(self.ask(command, **arguments))
        told.addErrback(lambda failure: failure.trap(VnetError))


def _named(error: VnetError, url: MediatorUrl) -> VnetError:
    """
    Say which mediator it is that cannot be reached.
    """
    if isinstance(error, Unreachable):
        return Unreachable(f"the mediator {Address(url.host, url.port)} cannot be reached: {error}")
    return error

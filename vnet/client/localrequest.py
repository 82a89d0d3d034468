# -*- test-case-name: vnet.test.test_localcontrol -*-
"""
The requests of the local control socket, as L{vnet.client.localcontrol} describes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn

from attrs import field, frozen

from vnet.errors import DecodeError

__all__ = ["VERBS", "Request", "RequestError", "Verb", "decodeRequest"]


@frozen
class Verb:
    """
    One verb of the socket.

    @ivar method: of L{INode}.
    @ivar arguments: their names, in the order of the method's.
    @ivar optional: which of them may be null, or left out.
    @ivar numbers: which are whole numbers from 1, not texts.
    @ivar flags: which are true or false; false, where they are left out.
    @ivar waitsFor: what a person reads while the verb takes long; empty: it does not.
    @ivar streams: whether it is answered by event after event.
    """

    method: str
    arguments: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    waitsFor: str = ""
    numbers: frozenset[str] = frozenset()
    streams: bool = False
    flags: frozenset[str] = frozenset()


_PASSWORD = frozenset({"password"})
_SELECTION = ("network", "search", "state", "page", "perPage")
_LAN = ("network", "nonIp", "etherTypes")
_STOP, _IN = frozenset({"stop"}), frozenset({"network"})
_MAXIMUM_NUMBER = 2**31

VERBS: Mapping[str, Verb] = {
    "status": Verb("status"),
    "login": Verb("login", ("url",), waitsFor="the mediator"),
    "logout": Verb("logout"),
    "create": Verb("create", ("network", "password"), _PASSWORD, "the mediator"),
    "join": Verb("join", ("network", "password"), _PASSWORD, "the mediator"),
    "join-invite": Verb("joinInvite", ("link",), waitsFor="the mediator"),
    "invite": Verb("invite", ("network",)),
    "leave": Verb("leave", ("network",)),
    "list": Verb("networks", _SELECTION, frozenset(_SELECTION), numbers=frozenset({"page", "perPage"})),
    "watch": Verb("watch", streams=True),
    "peer": Verb("peer", ("name",)),
    "ping": Verb("ping", ("name",)),
    "netcheck": Verb("netcheck", waitsFor="the STUN servers"),
    "set-nick": Verb("setNick", ("nick",)),
    "go-online": Verb("goOnline", ("network",)),
    "go-offline": Verb("goOffline", ("network",)),
    "firewall": Verb("firewall", ("network", "policy"), frozenset({"network", "policy"})),
    "lan": Verb("lan", _LAN, frozenset(_LAN)),
    "share-lan": Verb("shareLan", ("prefix", "network", "stop"), _IN | {"prefix"}, flags=_STOP),
    "accept-lan": Verb("acceptLan", ("member", "prefix", "network", "stop"), _IN, flags=_STOP),
    "use-lan": Verb("useLan", ("member", "prefix", "network", "stop"), _IN, flags=_STOP),
}


@frozen
class Request:
    """
    A request that can be carried out.

    @ivar arguments: for L{Verb.method}, in its order.
    """

    id: int | str
    verb: str
    arguments: tuple[str | int | None, ...] = field(repr=False)  # a password may be among them


class RequestError(DecodeError):
    """
    A line is no request.

    @ivar id: of the request that it perhaps was meant to be, or L{None}.
    """

    def __init__(self, message: str, id: int | str | None = None) -> None:
        super().__init__(message)
        self.id = id


def decodeRequest(line: bytes) -> Request:
    """
    Read one line, without its newline.

    @raise RequestError: it is no request; the text says why in one line.
    """
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_noConstant)
    except (ValueError, RecursionError):
        raise RequestError("the request is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise RequestError("the request is not a JSON object")
    identifier = _decodeId(value.pop("id", None))
    name = value.pop("verb", None)
    arguments = value.pop("arguments", {})
    if not isinstance(name, str) or name not in VERBS:
        raise RequestError(f"unknown verb; there are: {', '.join(VERBS)}", identifier)
    if value or not isinstance(arguments, dict):
        raise RequestError("a request has id, verb and arguments (an object), and no more", identifier)
    return Request(identifier, name, _decodeArguments(identifier, name, arguments))


def _noConstant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _decodeId(value: object) -> int | str:
    if type(value) is int and abs(value) < 2**53:
        return value
    if isinstance(value, str) and len(value) <= 64 and _isText(value):
        return value
    raise RequestError("the id is neither an integer nor a string of at most 64 characters")


def _decodeArguments(
    identifier: int | str, name: str, given: dict[str, object]
) -> tuple[str | int | None, ...]:
    verb = VERBS[name]
    if not given.keys() <= set(verb.arguments):
        expected = ", ".join(verb.arguments) or "no arguments"
        raise RequestError(f"unknown argument; {name} takes {expected}", identifier)
    result: list[str | int | None] = []
    for argument in verb.arguments:
        value = given.get(argument)
        if value is None and argument in verb.optional:
            result.append(None)
        elif argument in verb.flags:
            if not isinstance(value, bool | None):
                raise RequestError(f"{name} needs {argument}: true or false", identifier)
            result.append(bool(value))
        elif argument in verb.numbers:
            if type(value) is not int or not 1 <= value < _MAXIMUM_NUMBER:
                raise RequestError(f"{name} needs {argument}: a whole number from 1", identifier)
            result.append(value)
        elif isinstance(value, str) and _isText(value):
            result.append(value)
        else:
            raise RequestError(f"{name} needs {argument}: a text", identifier)
    return tuple(result)


def _isText(value: str) -> bool:
    """
    Half a surrogate pair is a legal JSON escape, but no Unicode text.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

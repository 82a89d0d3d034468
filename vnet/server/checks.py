# -*- test-case-name: vnet.test.test_networks -*-
"""
What nodes send, checked, with refusals that the control protocol declares.
"""

from __future__ import annotations

from collections.abc import Iterable

from vnet.errors import DecodeError
from vnet.protocols import control
from vnet.protocols.codec.names import validateName, validateNick
from vnet.protocols.codec.prefix import Prefix, sharablePrefix
from vnet.server.networks import PROOF

__all__ = ["checkedName", "checkedNick", "checkedPrefix", "checkedProof"]


def checkedName(name: str) -> str:
    """
    @return: the name of a network, normalised.
    @raise control.Denied: it cannot be one.
    """
    try:
        return validateName(name)
    except DecodeError as error:
        raise control.Denied(str(error)) from None


def checkedNick(nick: str) -> str:
    """
    @return: a nickname, normalised.
    @raise control.Denied: it cannot be one.
    """
    try:
        return validateNick(nick)
    except DecodeError as error:
        raise control.Denied(str(error)) from None


def checkedPrefix(text: str, overlay: Iterable[Prefix]) -> Prefix:
    """
    @return: a prefix that a member may share.
    @raise control.Denied: it cannot be one.
    """
    try:
        return sharablePrefix(text, overlay)
    except DecodeError as error:
        raise control.Denied(str(error)) from None


def checkedProof(proof: bytes) -> bytes:
    """
    @return: the proof of a password, or nothing for no password.
    @raise control.Denied: it cannot be one.
    """
    if len(proof) not in (0, PROOF):
        raise control.Denied(f"a password's proof has {PROOF} bytes")
    return proof

"""
The errors that cross borders between the layers of vnet.
"""

from __future__ import annotations

__all__ = ["ConfigurationError", "DecodeError", "Refused", "StateError", "Unreachable", "VnetError"]


class VnetError(Exception):
    """
    The base of each error that vnet raises on purpose.  Its text is one line for a person.
    """


class DecodeError(VnetError, ValueError):
    """
    Bytes from outside are not what a decoder reads.  No decoder raises anything else.
    """


class Refused(VnetError):
    """
    A request was understood and denied: the text says why and what to do.
    """


class Unreachable(VnetError):
    """
    The daemon or the mediator that a request needs does not answer.
    """


class ConfigurationError(VnetError):
    """
    What the user asked for cannot be started: an option, a file or the system is at fault.
    """


class StateError(ConfigurationError):
    """
    A file of the state directory is damaged, newer than this program, or in use.
    """

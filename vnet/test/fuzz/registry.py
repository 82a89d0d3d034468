"""
All targets, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from vnet.test.fuzz import (
    clienttargets,
    codectargets,
    controltargets,
    lantargets,
    nametargets,
    nattargets,
    proxytargets,
    punchtargets,
    relaytargets,
    routertargets,
    segmenttargets,
    tunneltargets,
    turntargets,
)
from vnet.test.fuzz.target import Target

__all__ = ["TARGETS", "findTarget"]

TARGETS: Mapping[str, Target] = {
    target.name: target
    for module in (
        codectargets,
        tunneltargets,
        punchtargets,
        relaytargets,
        controltargets,
        clienttargets,
        proxytargets,
        turntargets,
        routertargets,
        nattargets,
        nametargets,
        segmenttargets,
        lantargets,
    )
    for target in module.TARGETS
}


def findTarget(name: str) -> Target:
    """
    @param name: of a target in L{TARGETS}, or C{MODULE:ATTRIBUTE} of another.
    @raise LookupError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        return TARGETS[name]
    found = getattr(import_module(module), attribute, None)
    if not isinstance(found, Target):
        raise LookupError(name)
    return found

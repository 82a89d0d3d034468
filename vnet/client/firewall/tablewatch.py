# -*- test-case-name: vnet.test.test_firewall_tablewatch -*-
"""
Tells when a table of nftables is removed, by whomever (linux/netfilter/nfnetlink.h, nf_tables.h): a restart of the system's own
firewall may begin with C{flush ruleset}.  And when rules change, since those of others may drop what is forwarded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from vnet.linkwatcher import LinkWatcher

__all__ = ["isRemoval", "isRuleChange", "ruleWatcher", "tableWatcher"]

_NETLINK_NETFILTER = 12
# The group NFNLGRP_NFTABLES is 7.
_GROUPS = 1 << 6
# NFNL_SUBSYS_NFTABLES and NFT_MSG_DELTABLE.
_DELETED = 10 << 8 | 2
# NFT_MSG_NEWTABLE, NEWCHAIN, DELCHAIN, NEWRULE and DELRULE.
_RULES = frozenset({_DELETED, *(10 << 8 | kind for kind in (0, 3, 5, 6, 8))})
_HEADER = struct.Struct("=LHHLL")


def isRemoval(messages: bytes) -> bool:
    """
    Whether a batch of netlink messages tells of a table that is gone.
    """
    return any(kind == _DELETED for kind in _kinds(messages))


def isRuleChange(messages: bytes) -> bool:
    """
    Whether it tells of a rule, a chain or a table that has come, gone or changed.
    """
    return any(kind in _RULES for kind in _kinds(messages))


def _kinds(messages: bytes) -> Iterator[int]:
    offset = 0
    while offset + _HEADER.size <= len(messages):
        length, kind, *_ = _HEADER.unpack_from(messages, offset)
        yield kind
        # Each begins at a multiple of 4.
        offset += max(_HEADER.size, (length + 3) & ~3)


def tableWatcher(reactor: Any, removed: Callable[[], None]) -> LinkWatcher:
    """
    @param removed: called when a table is gone, once for all within 100 ms; it finds out which.
    """
    return LinkWatcher(reactor, removed, _NETLINK_NETFILTER, _GROUPS, isRemoval)


def ruleWatcher(reactor: Any, changed: Callable[[], None]) -> LinkWatcher:
    """
    @param changed: called when rules have changed, ours or those of others, once for all within 100 ms.
    """
    return LinkWatcher(reactor, changed, _NETLINK_NETFILTER, _GROUPS, isRuleChange)

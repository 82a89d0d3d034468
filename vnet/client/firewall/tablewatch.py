# -*- test-case-name: vnet.test.test_firewall_tablewatch -*-
"""
Tells when a table of nftables is removed, by whomever (linux/netfilter/nfnetlink.h, nf_tables.h): a restart of the system's own
firewall may begin with C{flush ruleset}.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from vnet.linkwatcher import LinkWatcher

__all__ = ["isRemoval", "tableWatcher"]

_NETLINK_NETFILTER = 12
# The group NFNLGRP_NFTABLES is 7.
_GROUPS = 1 << 6
# NFNL_SUBSYS_NFTABLES and NFT_MSG_DELTABLE.
_DELETED = 10 << 8 | 2
_HEADER = struct.Struct("=LHHLL")


def isRemoval(messages: bytes) -> bool:
    """
    Whether a batch of netlink messages tells of a table that is gone.
    """
    offset = 0
    while offset + _HEADER.size <= len(messages):
        length, kind, *_ = _HEADER.unpack_from(messages, offset)
        if kind == _DELETED:
            return True
        # Each begins at a multiple of 4.
        offset += max(_HEADER.size, (length + 3) & ~3)
    return False


def tableWatcher(reactor: Any, removed: Callable[[], None]) -> LinkWatcher:
    """
    @param removed: called when a table is gone, once for all within 100 ms; it finds out which.
    """
    return LinkWatcher(reactor, removed, _NETLINK_NETFILTER, _GROUPS, isRemoval)

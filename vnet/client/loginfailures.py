# -*- test-case-name: vnet.test.test_client_session -*-
"""
How requests to the mediator fail: by its refusal, or on the way to it.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError

from vnet.protocols import control

__all__ = ["NETWORK_FAILURES", "REFUSALS"]

#: What the mediator answers to what it will not do.
REFUSALS: tuple[type[Exception], ...] = (
    control.Denied,
    control.TooMany,
    control.Busy,
    control.Storage,
    control.NotPeers,
    control.PeerAbsent,
    control.LoginFailed,
)

#: What happens between the node and the mediator.
NETWORK_FAILURES: tuple[type[Exception], ...] = (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
    CancelledError,
    DeferredTimeout,
    SSL.Error,
    OSError,
)

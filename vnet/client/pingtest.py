# -*- test-case-name: vnet.test.test_pingtest -*-
"""
Whether a peer's operating system answers what comes through the tunnel.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from vnet.client.peer import Peer
from vnet.errors import Refused, Unreachable

__all__ = ["answersPing"]

_PATIENCE, _CHECK = 1.0, 0.3


async def answersPing(peer: Peer, echo: Callable[[], Deferred[float]], clock: IReactorTime) -> bool | None:
    """
    Send one echo through the tunnel and wait for a second.

    @param echo: sends it; fires when it is answered.
    @return: whether it was answered; L{None} where there is no tunnel, or the tunnel itself did not answer either.
    """
    if peer.path is None or not peer.answers:
        return None
    start, received = clock.seconds(), _received(peer)
    # An answer of the path shows that it is not the tunnel that is silent.
    checking = clock.callLater(_CHECK, peer.check)
    try:
        await echo().addTimeout(_PATIENCE, clock)
    except Refused:
        return None
    except (Unreachable, TimeoutError):
        return False if peer.aliveAt >= start or _received(peer) > received else None
    finally:
        if checking.active():
            checking.cancel()
    return True


def _received(peer: Peer) -> int:
    return peer.context.tunnels.status(peer.tunnelKey).rxBytes

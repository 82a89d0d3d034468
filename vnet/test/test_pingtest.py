"""
Whether a peer's operating system answers what comes through the tunnel.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from vnet.client.peer import Peer
from vnet.client.pingtest import answersPing
from vnet.errors import Refused, Unreachable
from vnet.protocols.machine.agentevents import Alive
from vnet.test.test_client_peer import PeerCase


class AnswersPingTests(PeerCase):
    """
    L{answersPing}.
    """

    def ask(self, peer: Peer, echo: Deferred[float]) -> list[Any]:
        """Ask; the list gets the answer."""
        answers: list[Any] = []
        asking = Deferred.fromCoroutine(answersPing(peer, lambda: echo, self.clock))
        asking.addCallbacks(answers.append, self.fail)
        return answers

    def test_answered(self) -> None:
        """An answer is one, and the path is not asked then."""
        peer, echo = self.connected()[0], Deferred[float]()
        answers, checks = self.ask(peer, echo), self.attempts[-1].checks
        self.clock.advance(0.2)
        echo.callback(0.2)
        self.assertEqual(answers, [True])
        self.clock.advance(2)
        self.assertEqual(self.attempts[-1].checks, checks)

    def test_dropped(self) -> None:
        """No answer within a second while the path answers: the peer's operating system is silent."""
        peer, cancelled = self.connected()[0], list[object]()
        answers, checks = self.ask(peer, Deferred(cancelled.append)), self.attempts[-1].checks
        self.clock.advance(0.4)
        self.assertEqual(self.attempts[-1].checks, checks + 1)
        self.attempts[-1].onEvent(Alive())
        self.clock.advance(0.5)
        self.assertEqual(answers, [])
        self.clock.advance(0.1)
        self.assertEqual((answers, len(cancelled)), ([False], 1))

    def test_otherTraffic(self) -> None:
        """What the tunnel receives meanwhile shows as well that it is alive."""
        peer = self.connected()[0]
        answers = self.ask(peer, Deferred())
        self.tunnels.rxBytes += 100
        self.clock.advance(1)
        self.assertEqual(answers, [False])

    def test_dead(self) -> None:
        """Where the path does not answer either, nothing is known of the operating system."""
        peer = self.connected()[0]
        self.attempts[-1].onEvent(Alive())
        self.clock.advance(1)
        answers = self.ask(peer, Deferred())
        self.clock.advance(1)
        self.assertEqual(answers, [None])

    def test_noTunnel(self) -> None:
        """Without a path or a session, no echo is sent."""
        peer = self.peer()
        unsent = Deferred[float]()
        self.assertEqual(self.ask(peer, unsent), [None])
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select()
        self.assertEqual(self.ask(peer, unsent), [None])

    def test_refused(self) -> None:
        """Where no echo can be sent, nothing is known."""
        peer = self.connected()[0]
        self.assertEqual(self.ask(peer, fail(Refused("too many"))), [None])
        self.assertEqual(self.ask(peer, fail(Unreachable("no tunnel"))), [None])

"""
Tests for L{vnet.protocols.controlclient}, with a mediator that sends what it should not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.controlclient import ControlClient

PEER = b"p" * 32


@define
class Handler:
    """
    Remembers what it is told.
    """

    told: list[tuple[Any, ...]] = field(factory=list)

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        self.told.append(("memberChanged", network, version, members))

    def networkGone(self, network: bytes) -> None:
        self.told.append(("networkGone", network))

    def rendezvous(self, peer: bytes, start: int, now: int, host: str) -> None:
        self.told.append(("rendezvous", peer, start, now, host))

    def signal(self, peer: bytes, sealed: bytes) -> None:
        self.told.append(("signal", peer, sealed))

    def replaced(self, byYou: bool) -> None:
        self.told.append(("replaced", byYou))

    def disconnected(self, reason: Failure) -> None:
        self.told.append(("disconnected",))


def box(command: type[amp.Command], **arguments: object) -> amp.Box:
    """
    A command as the mediator sends it.
    """
    made: amp.Box = command.makeArguments(arguments, amp.AMP())
    made.update({amp.COMMAND: command.commandName, amp.ASK: b"7"})
    return made


RENDEZVOUS = box(control.Rendezvous, peer=PEER, start=2, now=1, host="192.0.2.1")


class HostileMediatorTests(SynchronousTestCase):
    """
    What makes no sense ends the connection, writes nothing into the log and tells the node nothing.
    """

    def setUp(self) -> None:
        self.handler = Handler()
        self.transport = StringTransport()
        self.client = ControlClient(Clock(), self.handler)
        self.client.makeConnection(self.transport)
        self.client.handshakeCompleted()

    def assertDropped(self, wrong: amp.Box) -> None:
        self.setUp()
        self.client.dataReceived(wrong.serialize())
        self.assertTrue(self.transport.disconnected, wrong)
        self.assertEqual(self.handler.told, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_pushes(self) -> None:
        """
        Each push reaches the handler and is answered.
        """
        member = {"key": PEER, "address": "a", "address6": "b", "nick": "n", "state": "online"}
        network = b"n" * 16
        pushes = [
            (box(control.MemberChanged, network=network, version=3, members=[member]), "memberChanged"),
            (box(control.NetworkGone, network=network), "networkGone"),
            (RENDEZVOUS, "rendezvous"),
            (box(control.Signal, peer=PEER, sealed=b"s"), "signal"),
            (box(control.Replaced, byYou=True), "replaced"),
        ]
        for push, name in pushes:
            self.transport.clear()
            self.client.dataReceived(push.serialize())
            self.assertEqual(self.handler.told.pop()[0], name)
            self.assertEqual(amp.parseString(self.transport.value()), [amp.Box({amp.ANSWER: b"7"})])
        self.assertFalse(self.transport.disconnected)

    def test_answersToNothing(self) -> None:
        """
        An answer or an error without a question ends the connection.
        """
        self.assertDropped(amp.Box({amp.ANSWER: b"1"}))
        self.assertDropped(amp.Box({amp.ERROR: b"1", amp.ERROR_CODE: b"X", amp.ERROR_DESCRIPTION: b""}))
        self.assertDropped(amp.Box({b"x": b"y"}))

    def test_malformedPushes(self) -> None:
        """
        A push that lacks an argument, or with a key or a time that is none, ends the connection.
        """
        without = amp.Box(RENDEZVOUS)
        del without[b"peer"]
        self.assertDropped(without)
        for name, value in (
            (b"peer", b"short"),
            (b"start", b"-1"),
            (b"start", b"1" * 400),
            (b"now", b"x"),
            (b"host", b"x.y"),
        ):
            self.assertDropped(amp.Box({**RENDEZVOUS, name: value}))

    def test_othersCommands(self) -> None:
        """
        A command that is no push is not carried out: STARTTLS, which AMP knows by itself, would put an unverified
        session over the verified one.
        """
        self.client.dataReceived(box(amp.StartTLS).serialize())
        (answer,) = amp.parseString(self.transport.value())
        self.assertEqual(answer[amp.ERROR_CODE], amp.UNHANDLED_ERROR_CODE)

    def test_faultOfTheHandler(self) -> None:
        """
        A fault of the handler's own is still told in the log.
        """
        self.handler.told = None  # type: ignore[assignment]
        self.client.dataReceived(RENDEZVOUS.serialize())
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.handler.told = []
        self.client.connectionLost(Failure(ConnectionDone()))

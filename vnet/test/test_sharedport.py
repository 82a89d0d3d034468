"""
Tests for L{vnet.server.sharedport}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.protocols.codec.stun import Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import ERROR_CODE, REQUESTED_TRANSPORT
from vnet.protocols.codec.turn import ALLOCATE, UDP
from vnet.protocols.machine.relaycredentials import FixedUsers
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.turn import STRANGER_TIME, TurnServer
from vnet.server.sharedport import SharedPort
from vnet.test.mediatorlab import Lab

PEER = IPv4Address("TCP", "198.51.100.7", 50000)
REQUEST = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12, (REQUESTED_TRANSPORT(UDP),)))
PING = b"\0\x04_ask\0\x011\0\x08_command\0\x04Ping\0\0"


class SharedPortTests(SynchronousTestCase):
    """
    L{SharedPort}.
    """

    def setUp(self) -> None:
        """A mediator and a relay."""
        self.lab = Lab()
        settings = RelaySettings("test", {4: "192.0.2.1"})
        self.turn = TurnServer(self.lab.clock, settings, FixedUsers({}), wallClock=lambda: 0.0)
        self.port = SharedPort(self.lab.factory, self.turn)

    def connect(self) -> tuple[Protocol, StringTransport]:
        """Connect, with TLS."""
        self.assertTrue(self.lab.admission.enter(PEER.host))
        protocol, transport = self.port.buildProtocol(PEER), StringTransport(peerAddress=PEER)
        verifyObject(IHandshakeListener, protocol)
        protocol.makeConnection(transport)
        protocol.handshakeCompleted()
        return protocol, transport

    @given(st.integers(1, len(REQUEST)))
    def test_turn(self, piece: int) -> None:
        """A connection that begins with STUN is one of TURN, in whatever pieces that comes."""
        protocol, transport = self.connect()
        for start in range(0, len(REQUEST), piece):
            protocol.dataReceived(REQUEST[start : start + piece])
        answer = decode(transport.value())
        error = answer.get(ERROR_CODE)
        assert error is not None
        self.assertEqual((401, ALLOCATE), (error.code, answer.method))
        # It counts as the relay's, and not as the mediator's.
        self.assertEqual((1, 0), (len(self.turn.crowd), self.lab.admission._open))
        protocol.connectionLost(connectionDone)
        self.assertEqual(0, len(self.turn.crowd))
        self.lab.clock.advance(1)

    @given(st.integers(1, 12))
    def test_control(self, piece: int) -> None:
        """A connection that begins with AMP is one of control, in whatever pieces that comes."""
        protocol, transport = self.connect()
        for start in range(0, len(PING), piece):
            protocol.dataReceived(PING[start : start + piece])
        # A command before the login is what the mediator cuts for.
        self.assertTrue(transport.disconnected)
        self.assertGreater(self.lab.factory.counters["beforeLogin"], 0)
        protocol.connectionLost(connectionDone)
        self.assertEqual((0, 0), (self.lab.admission._open, len(self.turn.crowd)))

    def test_silent(self) -> None:
        """Whoever says nothing is cut when a node would be; a client of TURN without an allocation too."""
        for begun in (b"", REQUEST[:6], REQUEST):
            protocol, transport = self.connect()
            if begun:
                protocol.dataReceived(begun)
            self.lab.clock.advance(max(STRANGER_TIME, self.lab.factory.limits.login))
            self.assertTrue(transport.disconnected, begun)
            protocol.connectionLost(connectionDone)
        self.assertEqual((0, 0), (self.lab.admission._open, len(self.turn.crowd)))

    def test_crowded(self) -> None:
        """Clients of TURN have the relay's own limit of connections from one source."""
        for _ in range(self.turn.crowd.perSource + 1):
            protocol, transport = self.connect()
            protocol.dataReceived(REQUEST)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.turn.crowd.perSource, len(self.turn.crowd))

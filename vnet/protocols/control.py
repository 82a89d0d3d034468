# -*- test-case-name: vnet.test.test_control -*-
"""
The control protocol: AMP commands between a node and its mediator, over TLS 1.3.

A connection starts with L{Login}; nothing else is answered before it.  Times are microseconds of the mediator's
CLOCK_BOOTTIME, so that neither side needs a true wall clock.  A network's version is a pair: the C{epoch} that the
mediator drew when it started, and a number that grows by one with each change of that network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

from twisted.protocols import amp

__all__ = [
    "ACCEPTED_VERSION",
    "EXPORTER_LABEL",
    "MAXIMUM_NAME",
    "MAXIMUM_NETWORK_OFFERS",
    "MAXIMUM_NICK",
    "MAXIMUM_OFFERS",
    "MAXIMUM_SIGNAL",
    "PAGE",
    "PING_INTERVAL",
    "AcceptLan",
    "Busy",
    "Connect",
    "CreateNetwork",
    "Denied",
    "ForwardSignal",
    "JoinNetwork",
    "LeaveNetwork",
    "Login",
    "LoginFailed",
    "Logout",
    "MemberChanged",
    "NetworkGone",
    "NotPeers",
    "OfferLan",
    "PeerAbsent",
    "Ping",
    "Relays",
    "Rendezvous",
    "Replaced",
    "SetNick",
    "SetPresence",
    "Signal",
    "Storage",
    "Synchronise",
    "TestPort",
    "TooMany",
    "loginTranscript",
]

ACCEPTED_VERSION = 1
"""The version of this protocol."""

EXPORTER_LABEL = b"EXPORTER-vnet-control-login"
"""The label of the TLS exporter (RFC 8446 section 7.5, RFC 9266 for the idea) whose 32 bytes a login signs."""

MAXIMUM_NAME = 64
"""Characters of a network's name."""

MAXIMUM_NICK = 64
"""Characters of a nickname."""

MAXIMUM_OFFERS = 8
"""Prefixes that a member offers in one network."""

MAXIMUM_NETWORK_OFFERS = 64
"""Prefixes that are offered in one network."""

MAXIMUM_SIGNAL = 4096
"""Bytes of one sealed signal."""

PAGE = 100
"""Entries in one page of a synchronisation."""

PING_INTERVAL = 10.0
"""Seconds between two L{Ping} of a client that is logged in; the mediator takes a client silent for three of them for lost."""


def loginTranscript(mediator: bytes, exported: bytes) -> bytes:
    """
    What a node signs to log in.

    @param mediator: the SHA-256 of the mediator's SubjectPublicKeyInfo, 32 bytes.
    @param exported: 32 bytes of the connection's TLS exporter under L{EXPORTER_LABEL}, without context.
    @return: 64 bytes.
    """
    return hashlib.sha512(b"vnet control login 1\0" + mediator + exported).digest()


class LoginFailed(Exception):
    """The mediator does not let this node in: the text says why."""


class Denied(Exception):
    """
    The request is refused: the text says why.  A wrong password and a network that does not exist give the same text.
    """


class TooMany(Exception):
    """A limit is reached: the text says which, and when to try again."""


class Busy(Exception):
    """The mediator cannot do this now; trying again later is right."""


class Storage(Exception):
    """The mediator could not store the change (its disk is full, say): nothing was changed."""


class NotPeers(Exception):
    """The two nodes share no network in which both are online."""


class PeerAbsent(Exception):
    """The peer is not connected to the mediator now."""


_ERRORS: dict[type[Exception], bytes] = {
    LoginFailed: b"LOGIN",
    Denied: b"DENIED",
    TooMany: b"TOO_MANY",
    Busy: b"BUSY",
    Storage: b"STORAGE",
    NotPeers: b"NOT_PEERS",
    PeerAbsent: b"PEER_ABSENT",
}


class _Time(amp.Integer):
    """
    Microseconds, 0 to 2**64 - 1.
    """

    def fromString(self, inString: bytes) -> int:  # type: ignore[override]
        """
        @raise ValueError: it is no such time.
        """
        value: int = super().fromString(inString)
        if not 0 <= value < 1 << 64:
            raise ValueError("a time that no clock shows")
        return value


_LAN: Sequence[tuple[bytes, amp.Argument]] = [
    (b"prefix", amp.Unicode()),
    (b"accepted", amp.Boolean()),
]
"""
A LAN that a member offers: its prefix, as L{vnet.protocols.codec.prefix} has it, and whether the network's owner has accepted it.
"""


_MEMBER: Sequence[tuple[bytes, amp.Argument]] = [
    (b"key", amp.String()),
    (b"address", amp.Unicode()),
    (b"address6", amp.Unicode()),
    (b"nick", amp.Unicode()),
    (b"state", amp.Unicode()),
    (b"lans", amp.AmpList(list(_LAN), optional=True)),
]
"""
One member: its Ed25519 public key (32 bytes), its addresses, its nickname (hostile text), and its state,
C{"online"}, C{"offline"} (logged out, or went offline in this network), C{"lost"} (the control connection broke) or
C{"gone"} (no member any more; of such a one only the key is told); and the LANs that it offers in this network, if any.
"""


_RELAY: Sequence[tuple[bytes, amp.Argument]] = [
    (b"uri", amp.Unicode()),
    (b"username", amp.Unicode()),
    (b"credential", amp.Unicode()),
]
"""
One relay: its TURN URI, and time-limited credentials for it.
"""


class Login(amp.Command):
    """
    Client to mediator, first of all: prove possession of a key.

    The answer's C{realm} is 16 bytes that name this mediator for ever (they salt the passwords of networks), C{now}
    its clock. C{stun} is addresses as C{"IP:PORT"} or C{"[IP6]:PORT"}; C{relays} TURN URIs with time-limited
    credentials.
    """

    arguments = [
        (b"version", amp.Integer()),
        (b"key", amp.String()),
        (b"signature", amp.String()),
        (b"nick", amp.Unicode()),
        (b"software", amp.Unicode()),
    ]
    response = [
        (b"realm", amp.String()),
        (b"epoch", amp.String()),
        (b"now", _Time()),
        (b"address", amp.Unicode()),
        (b"address6", amp.Unicode()),
        (b"pool", amp.Unicode()),
        (b"pool6", amp.Unicode()),
        (b"stun", amp.ListOf(amp.Unicode())),
        (b"relays", amp.AmpList(list(_RELAY))),
    ]
    errors = _ERRORS


class Logout(amp.Command):
    """
    Client to mediator: this node goes offline on purpose; the mediator answers, then closes.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class Ping(amp.Command):
    """
    Client to mediator: is the connection alive, and what is the mediator's time (microseconds)?
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response = [(b"now", _Time())]
    errors = _ERRORS


class Relays(amp.Command):
    """
    Client to mediator: fresh credentials for the relays, which are those that a L{Login} would be told of now.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response = [(b"relays", amp.AmpList(list(_RELAY)))]
    errors = _ERRORS


class CreateNetwork(amp.Command):
    """
    Client to mediator: found a network and become its owner and first member.  The answer's C{network} is the 16
    random bytes that identify it.

    @ivar proof: 32 bytes that only the password gives (see C{vnet.protocols.machine.secrets}), or empty for a
        network without password.
    """

    arguments = [(b"name", amp.Unicode()), (b"proof", amp.String())]
    response = [(b"network", amp.String())]
    errors = _ERRORS


class JoinNetwork(amp.Command):
    """
    Client to mediator: become a member.
    """

    arguments = [(b"name", amp.Unicode()), (b"proof", amp.String())]
    response = [(b"network", amp.String())]
    errors = _ERRORS


class LeaveNetwork(amp.Command):
    """
    Client to mediator: cease to be a member.  A network that its last member leaves ends.
    """

    arguments = [(b"network", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class SetNick(amp.Command):
    """
    Client to mediator: change this node's nickname in all its networks.
    """

    arguments = [(b"nick", amp.Unicode())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class SetPresence(amp.Command):
    """
    Client to mediator: be online or offline in one network.  It is kept over restarts.
    """

    arguments = [(b"network", amp.String()), (b"online", amp.Boolean())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class Synchronise(amp.Command):
    """
    Client to mediator: what changed since the versions that this node holds.

    @ivar epoch: the epoch of the held versions, or empty.
    @ivar held: one entry for each network that the node knows; networks that it does not name are sent whole.
    @ivar cursor: empty in the first request; afterwards what the previous answer gave.

    The answer holds at most L{PAGE} entries, members, networks and offered LANs counted together, so that it fits in one
    AMP value.  C{whole} says that the members of that network start from nothing (drop those you had); otherwise they
    are a delta.  C{network} entries may repeat over pages (C{whole} only in the first). C{gone} lists networks that
    the node held and is no member of.  A non-empty C{cursor} asks for the next page. After the last page the node
    is subscribed: L{MemberChanged} carries each later change.

    The node itself is among the members.  A network that it creates or joins later sends nothing until it
    synchronises again; one that it leaves sends nothing more.  A change of owner skips a version, so that the
    members ask for the difference.
    """

    arguments = [
        (b"epoch", amp.String()),
        (b"held", amp.AmpList([(b"network", amp.String()), (b"version", amp.Integer())])),
        (b"cursor", amp.String()),
    ]
    response = [
        (b"epoch", amp.String()),
        (
            b"networks",
            amp.AmpList(
                [
                    (b"network", amp.String()),
                    (b"name", amp.Unicode()),
                    (b"owner", amp.String()),
                    (b"protected", amp.Boolean()),
                    (b"online", amp.Boolean()),
                    (b"version", amp.Integer()),
                    (b"whole", amp.Boolean()),
                    (b"members", amp.AmpList(list(_MEMBER))),
                ]
            ),
        ),
        (b"gone", amp.ListOf(amp.String())),
        (b"cursor", amp.String()),
    ]
    errors = _ERRORS


class OfferLan(amp.Command):
    """
    Client to mediator: offer the other members of a network the way to a LAN behind this node, or (C{offered} false) no more.
    What the network's owner offers is accepted at once.
    """

    arguments = [(b"network", amp.String()), (b"prefix", amp.Unicode()), (b"offered", amp.Boolean())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class AcceptLan(amp.Command):
    """
    Client to mediator: the network's owner accepts what a member offers, or (C{accepted} false) no more.
    """

    arguments = [
        (b"network", amp.String()),
        (b"member", amp.String()),
        (b"prefix", amp.Unicode()),
        (b"accepted", amp.Boolean()),
    ]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class Connect(amp.Command):
    """
    Client to mediator: this node wants a path to a peer.  Both are told a common start by L{Rendezvous}.
    """

    arguments = [(b"peer", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class ForwardSignal(amp.Command):
    """
    Client to mediator: hand a sealed signal of at most L{MAXIMUM_SIGNAL} bytes to a peer.
    """

    arguments = [(b"peer", amp.String()), (b"sealed", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class TestPort(amp.Command):
    """
    Client to mediator: send one STUN Binding indication with C{token} (12 bytes) as its transaction id to this UDP port of the
    address that this connection comes from, which is the answer's C{host}.
    """

    arguments = [(b"port", amp.Integer()), (b"token", amp.String())]
    response = [(b"host", amp.Unicode())]
    errors = _ERRORS


class MemberChanged(amp.Command):
    """
    Mediator to client: one change of one network.  A C{version} that is not the held one plus one asks for a
    L{Synchronise}.
    """

    arguments = [
        (b"network", amp.String()),
        (b"version", amp.Integer()),
        (b"members", amp.AmpList(list(_MEMBER))),
    ]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class NetworkGone(amp.Command):
    """
    Mediator to client: this node is no member of the network any more.
    """

    arguments = [(b"network", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Rendezvous(amp.Command):
    """
    Mediator to client: connect to this peer, beginning at C{start} (microseconds of the mediator's clock; C{now} is
    its clock at sending).  C{host} is the IP address that the peer's control connection comes from.
    """

    arguments = [
        (b"peer", amp.String()),
        (b"start", _Time()),
        (b"now", _Time()),
        (b"host", amp.Unicode(optional=True)),
    ]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Signal(amp.Command):
    """
    Mediator to client: a sealed signal from a peer.
    """

    arguments = [(b"peer", amp.String()), (b"sealed", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Replaced(amp.Command):
    """
    Mediator to client: another login with this node's key took over; the connection is closed next.  The node must
    not reconnect by itself at once: two computers with one key would fight for ever.  To the new session it is sent
    too, with C{byYou} true.
    """

    arguments = [(b"byYou", amp.Boolean())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []

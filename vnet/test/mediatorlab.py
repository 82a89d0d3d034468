"""
A mediator in memory, with nodes that talk AMP to it: no TLS, no thread, no time but L{Lab.clock}'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine
from typing import Any

import sqlalchemy as sa
from attrs import define, field
from nacl.signing import SigningKey
from sqlalchemy.pool import StaticPool
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.test import iosim

from vnet.protocols import control
from vnet.protocols.controlserver import ControlServer, ControlServerFactory, Gate
from vnet.protocols.machine.admission import Admission
from vnet.server.addresses import parsePool
from vnet.server.mediator import Mediator, Offer
from vnet.server.store import tables
from vnet.server.store.worker import Store, inline
from vnet.server.tickets import Tickets

__all__ = ["Lab", "NodeClient", "memoryEngine", "signingKey"]

MEDIATOR = b"M" * 32
EXPORTED = b"E" * 32


def memoryEngine() -> sa.Engine:
    """
    @return: a database in memory, as a mediator makes it.
    """
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        values = {"id": 1, "realm": b"R" * 16, "prefix6": b"\xfd\x01\x02\x03\x04\x05", "starts": 1}
        connection.execute(tables.mediator.insert().values(values))
    return engine


def signingKey(name: str) -> SigningKey:
    """
    @return: the same key for the same name.
    """
    return SigningKey(hashlib.sha256(name.encode()).digest())


class NodeClient(amp.AMP):
    """
    A node's end of a control connection.

    @ivar pushed: what the mediator said by itself: the command's name and its arguments.
    @ivar lost: why the connection was closed.
    @ivar answering: whether pushes are answered; C{deaf}: whether nothing is heard at all.
    """

    def __init__(self, key: SigningKey) -> None:
        super().__init__()
        self.signingKey = key
        self.key = bytes(key.verify_key)
        self.pushed: list[tuple[str, dict[str, Any]]] = []
        self.lost: Failure | None = None
        self._unanswered: list[Deferred[amp.Box]] = []
        self.answering = True
        self.deaf = False

    def dataReceived(self, data: bytes) -> None:
        """Take what comes in, unless deaf."""
        if not self.deaf:
            super().dataReceived(data)

    def locateResponder(self, name: bytes) -> Any:
        """Take every push, and answer it."""
        command = getattr(control, name.decode())

        def respond(box: amp.Box) -> Deferred[amp.Box]:
            self.pushed.append((name.decode(), command.parseArguments(box, self)))
            answer: Deferred[amp.Box] = Deferred()
            self._unanswered.append(answer)
            if self.answering:
                self.answerAll()
            return answer

        return respond

    def answerAll(self) -> None:
        """Answer all pushes so far, and each that follows."""
        self.answering = True
        waiting, self._unanswered = self._unanswered, []
        for answer in waiting:
            answer.callback(amp.Box())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remember why."""
        self.lost = reason
        super().connectionLost(reason)

    def credentials(self, nick: str = "node") -> dict[str, Any]:
        """
        @return: the arguments of a login.
        """
        signed = self.signingKey.sign(control.loginTranscript(MEDIATOR, EXPORTED))
        return {
            "version": control.ACCEPTED_VERSION,
            "key": self.key,
            "signature": signed.signature,
            "nick": nick,
            "software": "test",
        }

    def names(self) -> list[str]:
        """
        @return: the names of the pushes so far.
        """
        return [name for name, _ in self.pushed]

    def states(self) -> list[tuple[bytes, str]]:
        """
        @return: the members' states that were pushed.
        """
        changes = [arguments for name, arguments in self.pushed if name == "MemberChanged"]
        return [(each["key"], each["state"]) for change in changes for each in change["members"]]


@define(eq=False)
class Lab:
    """
    One mediator and any number of nodes.
    """

    pool: str = "100.64.0.0/10"
    engine: sa.Engine = field(factory=memoryEngine)
    submit: Any = inline
    clock: Clock = field(factory=Clock)
    admission: Admission = field(factory=Admission)
    tickets: Tickets | None = None
    stun: tuple[str, ...] = (":3478",)
    mediator: Mediator = field(init=False)
    factory: ControlServerFactory = field(init=False)
    store: Store = field(init=False)
    servers: list[ControlServer] = field(factory=list, init=False)
    _pumps: list[Any] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """
        Start the mediator, again if it ran.
        """
        self.store = Store(self.engine, self.submit)
        offer = Offer(parsePool(self.pool), self.stun, () if self.tickets is None else (self.tickets,))
        self.mediator = Mediator(self.clock, self.store, offer)
        self.store.runNow(self.mediator.load)
        self.factory = ControlServerFactory(
            self.mediator, self.clock, lambda transport: (MEDIATOR, EXPORTED), self.admission
        )

    def connect(self, name: str, host: str = "192.0.2.1", secure: bool = True) -> NodeClient:
        """
        Connect a node, as far as after the TLS handshake.

        @raise ConnectionRefusedError: the mediator turns it away.
        """
        server = Gate(self.factory, self.admission).buildProtocol(IPv4Address("TCP", host, 1024))
        if server is None:
            raise ConnectionRefusedError
        client = NodeClient(signingKey(name))
        self.servers.append(server)
        transports = iosim.FakeTransport(server, True), iosim.FakeTransport(client, False)
        pump = iosim.connect(server, transports[0], client, transports[1], greet=False, clock=self.clock)
        self._pumps.append(pump)
        if secure:
            server.handshakeCompleted()
        self.flush()
        return client

    def login(self, name: str, nick: str | None = None) -> NodeClient:
        """
        Connect a node and log it in.
        """
        client = self.connect(name)
        self.call(client, control.Login, **client.credentials(nick or name))
        return client

    def member(self, name: str, *networks: bytes) -> NodeClient:
        """
        Log a node in and synchronise it.
        """
        client = self.login(name)
        self.synchronise(client)
        return client

    def call(self, client: NodeClient, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        """
        Call the mediator, and wait for the answer.

        @raise Exception: what the mediator answers.
        """
        return self.result(client.callRemote(command, **arguments))

    def result(self, waiting: Deferred[dict[str, Any]]) -> dict[str, Any]:
        """
        Move data until an answer is there.
        """
        results: list[Any] = []
        waiting.addBoth(results.append)
        self.flush()
        if not results:
            # Refusals of passwords take this long.
            self.advance(0.1)
        if not results:
            raise AssertionError("no answer")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        answer: dict[str, Any] = results[0]
        return answer

    def synchronise(
        self, client: NodeClient, epoch: bytes = b"", held: dict[bytes, int] | None = None
    ) -> list[dict[str, Any]]:
        """
        Ask for all pages.
        """
        arguments = {
            "epoch": epoch,
            "held": [{"network": network, "version": version} for network, version in (held or {}).items()],
        }
        pages = [self.call(client, control.Synchronise, cursor=b"", **arguments)]
        while pages[-1]["cursor"]:
            pages.append(self.call(client, control.Synchronise, cursor=pages[-1]["cursor"], **arguments))
        return pages

    def network(self, name: str, *members: NodeClient, proof: bytes = b"P" * 32) -> bytes:
        """
        Found a network by the first of these nodes, let the others join, and synchronise them all.
        """
        answer = self.call(members[0], control.CreateNetwork, name=name, proof=proof)
        for member in members[1:]:
            self.call(member, control.JoinNetwork, name=name, proof=proof)
        for member in members:
            self.synchronise(member)
            member.pushed.clear()
        identifier: bytes = answer["network"]
        return identifier

    def flush(self) -> None:
        """
        Move data until there is none.
        """
        while any([pump.flush() for pump in self._pumps]):
            pass

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """
        Let time pass, in steps, with data moving.
        """
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.flush()

    def cut(self, client: NodeClient) -> None:
        """
        Break a node's connection.
        """
        if client.transport is not None:
            client.transport.loseConnection()
        self.flush()

    def inStore(self, work: Any, *arguments: Any) -> Any:
        """
        @return: what a function of the store's gives.
        """
        return self.store.runNow(lambda connection: work(connection, *arguments))


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """
    @return: the result of a coroutine that waits for nothing.
    """
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]

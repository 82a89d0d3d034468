"""
L{vnet.protocols.machine.agent} judged by aioice, another implementation of ICE, over loopback.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aioice
import aioice.ice
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import isStun
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.agentevents import AgentEvent, Alive, Dead, Failed, Selected
from vnet.protocols.machine.candidates import priority
from vnet.values import Address, Candidate

LOOPBACK = "127.0.0.1"


class Socket(asyncio.DatagramProtocol):
    """
    The five verbs of an agent on an asyncio socket.
    """

    def __init__(self, controlling: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.credentials = Credentials("ours", "o" * 22)
        self.agent = Agent(
            controlling=controlling,
            local=self.credentials,
            startAt=self.loop.time(),
            random=os.urandom,
        )
        self.events: list[AgentEvent] = []
        self.data: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = Address(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if isStun(data):
            self.agent.receive(data, Address(*addr), self.loop.time())
            self.wake()
        else:
            self.data.append(data)

    def wake(self) -> None:
        for data, address in self.agent.datagramsToSend(self.loop.time()):
            self.transport.sendto(data, address[:2])
        while (event := self.agent.nextEvent()) is not None:
            self.events.append(event)
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.agent.deadline()
        self.timer = None if deadline is None else self.loop.call_at(deadline, self.fired)

    def fired(self) -> None:
        self.agent.timerFired(self.loop.time())
        self.wake()

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.transport.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """
    Wait until the condition holds.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class AioiceTests(SynchronousTestCase):
    """
    Our agent and aioice's.
    """

    def setUp(self) -> None:
        self.patch(aioice.ice, "get_host_addresses", lambda **options: [LOOPBACK])
        self.patch(aioice.ice, "CONSENT_INTERVAL", 0.3)

    def between(
        self,
        ours: bool,
        theirs: bool,
        judge: Callable[[Socket, aioice.Connection], Awaitable[None]],
        tellThem: bool = True,
    ) -> None:
        """
        Connect both, and let C{judge} look.

        @param ours: whether we control; C{theirs}: whether aioice does.
        @param tellThem: whether aioice is told our candidate.
        """

        async def run() -> None:
            loop = asyncio.get_running_loop()
            _, socket = await loop.create_datagram_endpoint(lambda: Socket(ours), (LOOPBACK, 0))
            connection = aioice.Connection(ice_controlling=theirs, use_ipv6=False)
            try:
                await connection.gather_candidates()
                await self.introduce(socket, connection, tellThem)
                await asyncio.wait_for(connection.connect(), 10)
                await until(lambda: socket.agent.selected)
                await judge(socket, connection)
            finally:
                await connection.close()
                socket.close()

        asyncio.run(run())

    async def introduce(self, socket: Socket, connection: aioice.Connection, tellThem: bool) -> None:
        own = Candidate("host", socket.address, priority("host"), "f")
        socket.agent.addLocalCandidate(own)
        socket.agent.setRemoteCredentials(Credentials(connection.local_username, connection.local_password))
        for each in connection.local_candidates:
            candidate = Candidate(each.type, Address(each.host, each.port), each.priority, each.foundation)
            socket.agent.addRemoteCandidate(candidate, socket.loop.time())
        connection.remote_username = socket.credentials.ufrag
        connection.remote_password = socket.credentials.password
        host, port = socket.address[:2]
        if tellThem:
            told = aioice.Candidate("f", 1, "udp", own.priority, host, port, "host")
            await connection.add_remote_candidate(told)
            await connection.add_remote_candidate(None)
        socket.wake()

    async def exchange(self, socket: Socket, connection: aioice.Connection) -> None:
        """
        Data passes both ways on the path that both have chosen.
        """
        path = socket.agent.selected
        assert path is not None
        self.assertEqual((path.localKind, path.remoteKind), ("host", "host"))
        self.assertEqual([type(event) for event in socket.events], [Selected])
        socket.transport.sendto(b"to aioice", path.address[:2])
        self.assertEqual(await asyncio.wait_for(connection.recvfrom(), 5), (b"to aioice", 1))
        await connection.sendto(b"from aioice", 1)
        await until(lambda: socket.data == [b"from aioice"])

    def test_weControl(self) -> None:
        """
        aioice accepts our checks and our nomination.
        """
        self.between(True, False, self.exchange)

    def test_theyControl(self) -> None:
        """
        aioice's checks and its nomination are accepted.
        """
        self.between(False, True, self.exchange)

    def test_bothControl(self) -> None:
        """
        A conflict of roles with aioice is settled, whichever side has the larger tie-breaker.
        """
        for _ in range(4):
            self.between(True, True, self.exchange)

    def test_nobodyControls(self) -> None:
        """
        So is one in which both want to be controlled.
        """
        for _ in range(4):
            self.between(False, False, self.exchange)

    def test_peerReflexive(self) -> None:
        """
        aioice, which was told nothing of our address, learns it from our checks.
        """
        self.between(True, False, self.exchange, tellThem=False)

    def test_consent(self) -> None:
        """
        aioice, which gives up after 6 consent checks without an answer, keeps the path; and answers ours.
        """

        async def judge(socket: Socket, connection: aioice.Connection) -> None:
            await asyncio.sleep(0.3 * 6 * 1.2 + 1)
            socket.agent.check(socket.loop.time())
            socket.wake()
            await until(lambda: Alive() in socket.events)
            socket.events.remove(Alive())
            await self.exchange(socket, connection)

        self.between(True, False, judge)

    def test_gone(self) -> None:
        """
        When aioice has closed, our check finds the peer dead.
        """

        async def judge(socket: Socket, connection: aioice.Connection) -> None:
            await connection.close()
            socket.agent.check(socket.loop.time())
            socket.wake()
            await until(lambda: Dead() in socket.events)
            self.assertNotIn(Failed, map(type, socket.events))

        self.between(False, True, judge)

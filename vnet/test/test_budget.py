"""
Tests for L{vnet.protocols.machine.budget}, and for what an agent sends where nobody answers.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.signal import Credentials, Signal
from vnet.protocols.codec.stun import Class, decode
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.budget import UNANSWERED, Budget, Verdict
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.punch import Puncher
from vnet.test.icepeers import connect, home, peer, run, seeded
from vnet.test.natsim import Internet
from vnet.values import Address, Candidate

EIM, APDF = "endpoint-independent", "address-and-port-dependent"
VICTIM = "192.0.2.66"
REMOTE = Credentials("remo", "r" * 22)


def ports(host: str, count: int = 64) -> list[Candidate]:
    """
    Many candidates of one host.
    """
    return [Candidate("host", Address(host, 1000 + port), 1 + port, "f") for port in range(count)]


class BudgetTests(SynchronousTestCase):
    """
    L{Budget}.
    """

    def test_unanswered(self) -> None:
        """
        A host that does not answer gets so many checks, whatever the ports; other hosts are not concerned.
        """
        budget = Budget()
        verdicts = [budget.take(Address(VICTIM, 1000 + number), 0.0) for number in range(50)]
        self.assertEqual(verdicts, [Verdict.SEND] * UNANSWERED + [Verdict.NEVER] * (50 - UNANSWERED))
        self.assertIs(budget.take(Address("192.0.2.67", 1), 0.0), Verdict.SEND)

    def test_prefix(self) -> None:
        """
        The addresses of an IPv6 /64 are one host.
        """
        budget = Budget()
        verdicts = [budget.take(Address(f"2001:db8::{number:x}", 1), 0.0) for number in range(1, 50)]
        self.assertEqual(verdicts.count(Verdict.SEND), UNANSWERED)
        self.assertIs(budget.take(Address("2001:db8:0:1::1", 1), 0.0), Verdict.SEND)

    def test_answered(self) -> None:
        """
        A host that has answered has no limit.
        """
        budget = Budget(KeyedLimit(1, 1))
        budget.answered(Address(VICTIM, 1))
        self.assertEqual({budget.take(Address(VICTIM, port), 0.0) for port in range(1, 200)}, {Verdict.SEND})

    def test_granted(self) -> None:
        """
        A check of the peer gives one to the address that it came from, and no other.
        """
        budget = Budget()
        for _ in range(UNANSWERED):
            budget.take(Address(VICTIM, 1), 0.0)
        budget.grant(Address(VICTIM, 2))
        verdicts = [budget.take(Address(VICTIM, port), 0.0) for port in (1, 2, 2)]
        self.assertEqual(verdicts, [Verdict.NEVER, Verdict.SEND, Verdict.NEVER])

    def test_paced(self) -> None:
        """
        Budgets with one pace send no faster than that to one host; what has to wait is not counted.
        """
        pace = KeyedLimit(10, 5)
        budgets = [Budget(pace) for _ in range(10)]
        sent: Counter[int] = Counter()
        for tick in range(2000):
            for number, budget in enumerate(budgets):
                sent[number] += budget.take(Address(VICTIM, 1), tick / 100) is Verdict.SEND
            self.assertLessEqual(sum(sent.values()), 6 + tick / 10)
        self.assertEqual(set(sent.values()), {UNANSWERED})

    def test_bounded(self) -> None:
        """
        However many hosts a peer names, the tables are bounded.
        """
        budget = Budget()
        for number in range(5000):
            address = Address(f"10.0.{number >> 8}.{number & 255}", 1)
            budget.take(address, 0.0)
            budget.grant(address)
            budget.answered(address)
        self.assertLessEqual(max(len(budget._sent), len(budget._granted), len(budget._answering)), 256)


class AgentBudgetTests(SynchronousTestCase):
    """
    Agents whose peer names addresses of others.
    """

    def agent(self, candidates: list[Candidate], pace: KeyedLimit | None = None) -> Agent:
        agent = Agent(
            controlling=True,
            local=Credentials("locl", "l" * 22),
            startAt=0.0,
            random=seeded(1),
            pace=pace,
        )
        agent.setRemoteCredentials(REMOTE)
        for candidate in candidates:
            agent.addRemoteCandidate(candidate, 0.0)
        return agent

    def sent(self, agent: Agent, seconds: float, start: float = 0.0) -> int:
        count, now = 0, start
        while now < start + seconds:
            agent.timerFired(now)
            count += len(agent.datagramsToSend(now))
            at = agent.deadline()
            now = max(now + 0.001, start + seconds if at is None else at)
        return count

    def test_victim(self) -> None:
        """
        A host of which a member names 64 ports, or a /64 of which it names 64 addresses, gets 20 packets; searching again
        adds none.
        """
        prefix = [Candidate("host", Address(f"2001:db8::{n:x}", 9), n, "f") for n in range(1, 65)]
        for candidates in (ports(VICTIM), ports(VICTIM, 1), prefix):
            agent = self.agent(candidates)
            count = self.sent(agent, 30.0)
            for again in range(1, 10):
                agent.search(100.0 * again)
                count += self.sent(agent, 30.0, 100.0 * again)
            self.assertEqual(count, UNANSWERED)

    def test_searchAgain(self) -> None:
        """
        An agent without a path searches again when it is asked to, which ends like the first search.
        """
        agent = self.agent([])
        self.sent(agent, 30.0)
        for again in (100.0, 200.0):
            self.assertIsNotNone(agent.nextEvent())
            agent.search(again)
            self.sent(agent, 30.0, again)
        self.assertIsNotNone(agent.nextEvent())
        self.assertIsNone(agent.nextEvent())

    def test_late(self) -> None:
        """
        A peer behind a NAT of its own that begins when the budget is used up is found all the same.
        """
        for late in (0.0, 4.0, 8.0, 9.9):
            clock = Clock()
            internet = Internet(clock)
            a = peer("alice", clock, home(internet, 1, EIM, APDF), True)
            b = peer("bob", clock, home(internet, 2, EIM, APDF), False, 1.0 + late)
            connect(a, b, internet)
            run(clock, late + 4.0)
            self.assertTrue(a.agent.selected is not None and b.agent.selected is not None, late)

    def test_manyMembers(self) -> None:
        """
        Hundreds of members that name one host make a node send it no more than 50 packets a second in the long run, while
        another host gets its checks at once.
        """
        clock, sent = Clock(), Counter[str]()

        def send(batch: list[tuple[bytes, Address]]) -> None:
            for data, address in batch:
                sent[address.host] += decode(data).klass is Class.REQUEST

        puncher = Puncher(clock, send, seeded(3))
        for number in range(100):
            attempt = puncher.connect(
                bytes([number]) * 32, controlling=True, startAt=0.0, onEvent=lambda _: None
            )
            named = ports(VICTIM, 20) if number < 99 else ports("192.0.2.7", 1)
            attempt.remoteSignal(Signal(1, REMOTE, tuple(named)))
        clock.pump([0.05] * 200)
        self.assertTrue(400 < sent[VICTIM] <= 150 + 50 * 10 + 1, sent)
        self.assertGreater(sent["192.0.2.7"], 10)
        puncher.close()

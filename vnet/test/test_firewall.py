"""
The firewall: what is told to nft, and when.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.firewall import AGAIN, COALESCE, Firewall
from vnet.client.firewall.nft import MISSING, NftError
from vnet.client.firewall.passage import OtherTable
from vnet.client.firewall.policy import OPEN, PING_ONLY, Policy, parsePolicy
from vnet.client.firewall.ruleset import OTHER, Ruled, change, install, remove
from vnet.errors import ConfigurationError

HOME, WORK = b"h" * 16, b"w" * 16
HOSTILE = 'home"; flush ruleset #\x1b'


@define(eq=False)
class FakeNft:
    """
    Keeps scripts.

    @ivar error: what each fails with; L{None}: it succeeds.
    @ivar waiting: the answers that are kept back, while this is a list.
    """

    scripts: list[str] = field(factory=list)
    counts: dict[int, int] = field(factory=dict)
    error: NftError | None = None
    missing: bool = False
    waiting: list[Deferred[None]] | None = None
    tables: list[OtherTable] = field(factory=list)

    def runNow(self, script: str) -> None:
        """Keep a script."""
        if self.error is not None:
            raise self.error
        self.scripts.append(script)

    def run(self, script: str) -> Deferred[None]:
        """Keep a script."""
        if self.error is not None:
            return fail(self.error)
        self.scripts.append(script)
        if self.waiting is None:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def counters(self, interface: str) -> Deferred[dict[int, int]]:
        """What was dropped."""
        return fail(NftError("no table")) if self.missing else succeed(self.counts)

    def others(self, interface: str) -> Deferred[list[OtherTable]]:
        """The tables of others."""
        return succeed(self.tables) if self.error is None else fail(self.error)

    def take(self) -> list[str]:
        """The scripts since the last time."""
        taken, self.scripts = self.scripts, []
        return taken


@define(eq=False)
class FakePopulation:
    """
    Networks and members.
    """

    chosen: dict[bytes, Policy] = field(factory=lambda: {HOME: OPEN, WORK: OPEN})
    table: dict[bytes, tuple[tuple[str, ...], list[bytes]]] = field(factory=dict)

    def policies(self) -> dict[bytes, Policy]:
        """The policies."""
        return dict(self.chosen)

    def nameOf(self, network: bytes) -> str:
        """A name that does harm wherever it is not expected."""
        return HOSTILE

    def members(self) -> list[bytes]:
        """All."""
        return list(self.table)

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        """Of one."""
        return self.table[key][0] if key in self.table else ()

    def networksOf(self, key: bytes) -> list[bytes]:
        """Of one."""
        return self.table[key][1]


class FirewallTests(SynchronousTestCase):
    """
    Tests of L{Firewall}.
    """

    def setUp(self) -> None:
        self.clock, self.nft, self.population = Clock(), FakeNft(), FakePopulation()
        self.firewall = Firewall(self.clock, "vnet0", self.population, self.nft)
        self.population.table = {
            b"ann": (("100.64.0.2", "fd00::2"), [HOME]),
            b"bea": (("100.64.0.3", "fd00::3"), [HOME, WORK]),
        }

    def done(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def close(self, network: bytes, policy: Policy = PING_ONLY) -> list[str]:
        self.population.chosen[network] = policy
        self.done(self.firewall.apply())
        return self.nft.take()

    def settle(self) -> list[str]:
        self.clock.advance(COALESCE)
        return self.nft.take()

    def whole(self, home: Policy = PING_ONLY, work: Policy = OPEN) -> str:
        members = {"100.64.0.2", "fd00::2", "100.64.0.3", "fd00::3"}
        return install("vnet0", [Ruled(home, members), Ruled(work, {"100.64.0.3", "fd00::3"})])

    def test_open(self) -> None:
        """
        While all networks are open there is no table; what a client that died has left is removed at the start.
        """
        self.firewall.prepare()
        self.assertEqual(self.nft.take(), [remove("vnet0")])
        self.firewall.changed()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.done(self.firewall.close())
        self.assertEqual(self.nft.take(), [])

    def test_start(self) -> None:
        """
        A table takes the place of an older one in one transaction before any member is known.
        """
        self.population.chosen[WORK] = ssh = parsePolicy("tcp/22")
        members, self.population.table = self.population.table, {}
        self.firewall.prepare()
        self.assertEqual(self.nft.take(), [install("vnet0", [Ruled(OPEN), Ruled(ssh)])])
        self.population.table = members
        self.firewall.changed()
        every = {"100.64.0.2", "fd00::2", "100.64.0.3", "fd00::3"}
        self.assertEqual(self.settle(), [change("vnet0", {0: every, 1: {"100.64.0.3", "fd00::3"}}, {})])

    def test_startRefused(self) -> None:
        """
        A client whose policy cannot be set does not start, and says in one line why; one that is open everywhere does.
        """
        self.nft.error = NftError(MISSING)
        self.firewall.prepare()
        self.population.chosen[WORK] = PING_ONLY
        error = self.assertRaises(ConfigurationError, self.firewall.prepare)
        self.assertIn("install nftables", str(error))
        self.assertTrue(str(error).isprintable())

    def test_policies(self) -> None:
        """
        Each policy that is set is one transaction; the last that is not open takes the table away.
        """
        self.assertEqual(self.close(HOME), [self.whole()])
        self.assertEqual(self.close(WORK), [self.whole(work=PING_ONLY)])
        self.assertEqual(self.close(HOME, OPEN), [self.whole(OPEN, PING_ONLY)])
        self.assertEqual(self.close(WORK, OPEN), [remove("vnet0")])
        self.assertEqual(self.close(WORK, OPEN), [])

    def test_members(self) -> None:
        """
        Members that come, go and move between networks within 20 ms are one transaction, of what has changed only.
        """
        self.close(HOME)
        self.population.table[b"cea"] = (("100.64.0.4", "fd00::4"), [WORK])
        self.firewall.changed([b"cea"])
        del self.population.table[b"ann"]
        self.firewall.changed([b"ann"])
        self.population.table[b"bea"] = (("100.64.0.3", "fd00::3"), [WORK])
        self.firewall.changed([b"bea"])
        gone = {"100.64.0.2", "fd00::2", "100.64.0.3", "fd00::3"}
        self.assertEqual(self.nft.take(), [])
        self.assertEqual(self.settle(), [change("vnet0", {1: {"100.64.0.4", "fd00::4"}}, {0: gone})])
        self.firewall.changed()
        self.assertEqual(self.settle(), [])

    def test_addressMoves(self) -> None:
        """
        An address that one member loses and another gets stays in the set.
        """
        self.close(HOME)
        self.population.table[b"new"] = self.population.table.pop(b"ann")
        self.firewall.changed([b"ann", b"new"])
        self.assertEqual(self.settle(), [])
        del self.population.table[b"new"]
        self.firewall.changed([b"new"])
        self.assertEqual(self.settle(), [change("vnet0", {}, {0: {"100.64.0.2", "fd00::2"}})])

    def test_networks(self) -> None:
        """
        A network that is joined or left makes the table anew.
        """
        self.close(HOME)
        del self.population.chosen[WORK]
        self.firewall.changed()
        self.assertEqual(self.settle(), [install("vnet0", [Ruled(PING_ONLY, self.everybody())])])

    def everybody(self) -> set[str]:
        return {each for addresses, _ in self.population.table.values() for each in addresses}

    def test_whileBusy(self) -> None:
        """
        What changes during a transaction comes in the next one, and none runs beside another.
        """
        self.close(HOME)
        self.nft.waiting = []
        del self.population.table[b"ann"]
        self.firewall.changed([b"ann"])
        self.clock.advance(COALESCE)
        self.population.table[b"cea"] = (("100.64.0.4", "fd00::4"), [HOME])
        self.firewall.changed([b"cea"])
        self.clock.advance(COALESCE)
        self.assertEqual(self.nft.take(), [change("vnet0", {}, {0: {"100.64.0.2", "fd00::2"}})])
        self.nft.waiting.pop().callback(None)
        self.assertEqual(self.nft.take(), [change("vnet0", {0: {"100.64.0.4", "fd00::4"}}, {})])

    def test_changeFails(self) -> None:
        """
        A change that nft does not take is followed by the whole table.
        """
        self.close(HOME)
        self.nft.waiting = []
        del self.population.table[b"ann"]
        self.firewall.changed([b"ann"])
        self.settle()
        self.nft.waiting.pop().errback(Failure(NftError("no such element")))
        [script] = self.nft.take()
        self.assertTrue(script.startswith(remove("vnet0")))
        self.assertNotIn("100.64.0.2", script)

    def test_systemFails(self) -> None:
        """
        When nft takes nothing the table stays as it is, the log says so, and it is tried again.
        """
        self.close(HOME)
        self.nft.error = NftError("nft failed: no memory")
        del self.population.table[b"ann"]
        self.firewall.changed([b"ann"])
        self.clock.advance(COALESCE)
        self.nft.error = None
        self.clock.advance(AGAIN)
        [script] = self.nft.take()
        self.assertTrue(script.startswith(remove("vnet0")))
        self.assertNotIn("100.64.0.2", script)

    def test_setFails(self) -> None:
        """
        A policy that cannot be set is refused, and what held before holds on.
        """
        self.close(HOME)
        self.nft.error = NftError("nft failed")
        self.population.chosen[WORK] = PING_ONLY
        self.failureResultOf(Deferred.fromCoroutine(self.firewall.apply()), NftError)
        self.population.chosen[WORK] = OPEN
        self.nft.error = None
        self.firewall.changed()
        self.assertEqual(self.settle(), [self.whole()])

    def test_noProgram(self) -> None:
        """
        Without a firewall all is open, and no other policy can be set.
        """
        firewall = Firewall(self.clock, "vnet0", self.population, None)
        firewall.prepare()
        firewall.changed()
        self.population.chosen[WORK] = PING_ONLY
        self.failureResultOf(Deferred.fromCoroutine(firewall.apply()), NftError)
        self.assertRaises(ConfigurationError, firewall.prepare)
        self.done(firewall.close())

    def test_dropped(self) -> None:
        """
        What was dropped is counted by network over changes of the table.
        """
        self.assertEqual(self.done(self.firewall.dropped()), {})
        self.close(HOME)
        self.nft.counts = {0: 5, 1: 1, OTHER: 2}
        self.close(WORK)
        self.nft.counts = {0: 1}
        self.assertEqual(dict(self.done(self.firewall.dropped())), {HOME: 6, WORK: 1, b"": 2})

    def test_removedByOthers(self) -> None:
        """
        A table that somebody removes is put back; one that is there is left alone.
        """
        self.close(HOME)
        self.firewall.check()
        self.assertEqual(self.nft.take(), [])
        self.nft.missing = True
        self.firewall.check()
        self.assertEqual(self.nft.take(), [self.whole()])

    def test_close(self) -> None:
        """
        At the end the table is removed, and nothing is done after that.
        """
        self.close(HOME)
        self.firewall.changed([b"ann"])
        self.done(self.firewall.close())
        self.assertEqual(self.nft.take(), [remove("vnet0")])
        self.firewall.changed([b"ann"])
        self.firewall.check()
        self.clock.advance(100)
        self.assertEqual(self.nft.take(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hostileName(self) -> None:
        """
        No name of a network gets into a script.
        """
        scripts = self.close(HOME)
        self.firewall.changed()
        for script in scripts + self.settle():
            self.assertNotIn("flush", script)
            self.assertTrue(script.replace("\n", "").isprintable())

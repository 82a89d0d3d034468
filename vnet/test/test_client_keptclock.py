"""
Tests for L{vnet.client.keptclock}.
"""

from __future__ import annotations

import stat
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client import keptclock
from vnet.client.keptclock import DAMAGED, MARGIN, KeptClock
from vnet.protocols.machine.timestamps import NEVER, Timestamps
from vnet.test.nodelab import URL, Overlay

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


class KeptClockTests(SynchronousTestCase):
    """
    L{KeptClock}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = NOW
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "timestamp"

    def start(self) -> KeptClock:
        clock = KeptClock(self.path, lambda: self.wall, self.clock.seconds)
        clock.load()
        return clock

    def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall += int(seconds * SECOND)

    def test_fresh(self) -> None:
        """
        Without a file it is the wall clock; the file is there then, for its owner only.
        """
        clock = self.start()
        self.assertEqual(clock(), NOW)
        self.pass_(5.5)
        self.assertEqual(clock(), NOW + 5.5 * SECOND)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_neverBack(self) -> None:
        """
        Timestamps grow across restarts, whatever the wall clock does in between and while it runs.
        """
        last, previous = 0, NEVER
        for step in (3600, -86_400, 0, -315_360_000, 315_360_000, 0, -50 * 365 * 86_400, 1):
            self.wall += step * SECOND
            clock = self.start()
            for pause in (0.0, 0.001, 5.0, 800.0, 90.0, 4000.0):
                self.pass_(pause)
                self.assertGreaterEqual(clock(), last)
                timestamp = Timestamps(clock).after(previous)
                self.assertGreater(timestamp, previous)
                last, previous = clock(), timestamp
            self.wall -= 7200 * SECOND
            self.assertGreaterEqual(clock(), last)
            last = clock()

    def test_restarted(self) -> None:
        """
        What a new life gives is above all timestamps of the old one, those too that were some steps ahead.
        """
        clock = self.start()
        self.pass_(10)
        timestamps, previous = Timestamps(clock), NEVER
        for _ in range(1000):
            previous = timestamps.after(previous)
        self.wall = 0
        self.assertGreater(Timestamps(self.start()).after(NEVER), previous)

    def test_goesOn(self) -> None:
        """
        Where the wall clock is behind, the time goes on from there.
        """
        self.start()()
        self.wall = 0
        clock = self.start()
        self.assertEqual(clock(), NOW + MARGIN)
        self.pass_(10)
        self.assertEqual(clock(), NOW + MARGIN + 10 * SECOND)

    def test_notAsked(self) -> None:
        """
        A node that did not come as far as a handshake has written nothing.
        """
        self.start()
        self.assertFalse(self.path.exists())

    def test_rarely(self) -> None:
        """
        The file is written a few times in an hour, however often the time is asked for.
        """
        written = []
        self.patch(keptclock, "writePrivate", lambda path, content: written.append(content))
        clock = self.start()
        for _ in range(3600):
            self.pass_(1)
            clock()
        self.assertEqual(len(written), 5)

    def test_damaged(self) -> None:
        """
        A damaged file makes the clock lead by a day; it is written anew, and holds from then on.
        """
        for content in (b"", b"\0\0\0", b"12x", b"-5", b"9" * 19, b"9" * 5000, "²".encode()):
            self.path.write_bytes(content)
            self.assertEqual(self.start()(), NOW + DAMAGED)
            self.assertEqual(self.path.read_bytes(), b"%d\n" % (NOW + DAMAGED + MARGIN))

    def test_fullDisk(self) -> None:
        """
        A disk that takes nothing does not stop the clock; once a minute it is tried again.
        """
        self.path.parent.rmdir()
        clock = self.start()
        self.assertEqual(clock(), NOW)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.path.parent.mkdir()
        self.pass_(59)
        clock()
        self.assertFalse(self.path.exists())
        self.pass_(2)
        clock()
        self.assertTrue(self.path.exists())

    def test_tunnel(self) -> None:
        """
        A node whose wall clock was set back by years while it did not run has its tunnels 10 s after its start, and none of its
        handshakes was dropped as old.
        """
        overlay = Overlay(self.mktemp)
        self.addCleanup(overlay.stopAll)
        nodes = {
            name: overlay.add(name, host) for name, host in (("ann", "203.0.113.1"), ("bea", "203.0.113.2"))
        }
        for node in nodes.values():
            node.do(node.node.login(URL))
        nodes["ann"].do(nodes["ann"].node.create("home", "secret"))
        nodes["bea"].do(nodes["bea"].node.join("home", "secret"))
        overlay.advance(10)
        for life, name in enumerate(("ann", "bea")):
            state = nodes[name].state
            overlay.kill(nodes[name])
            overlay.wallOffset -= 100_000_000.0
            nodes[name] = overlay.add(name, f"203.0.113.{life + 10}", state)
            overlay.advance(10)
            self.assertTrue(nodes["ann"].reaches(nodes["bea"]))
            self.assertTrue(nodes["bea"].reaches(nodes["ann"]))
            for node in nodes.values():
                self.assertEqual(node.core.parts.wireguard.counters["oldTimestamp"], 0)

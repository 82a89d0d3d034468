"""
What the node remembers.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.policy import OPEN, parsePolicy
from vnet.client.state import StateFile
from vnet.errors import StateError

NETWORK, REALM, KEY = b"n" * 16, b"r" * 16, b"k" * 32


class StateFileTests(SynchronousTestCase):
    """
    Tests of L{StateFile}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.state = StateFile(self.path)

    def reload(self) -> StateFile:
        again = StateFile(self.path)
        again.load()
        return again

    def test_roundTrip(self) -> None:
        """
        All that is remembered is there after a restart.
        """
        self.state.update(mediator="vnet://m:7443", online=True, nick="ann")
        self.state.rememberNetwork(NETWORK, "home", b"s" * 32, REALM)
        self.state.pin(REALM, {"100.64.0.9": KEY})
        self.state.save()
        again = self.reload()
        self.assertEqual(again.remembered, self.state.remembered)
        self.assertEqual(again.secretOf(NETWORK), b"s" * 32)
        self.assertEqual(again.pinned(REALM, "100.64.0.9"), KEY)
        self.assertIsNone(again.pinned(b"x" * 16, "100.64.0.9"))

    def test_entering(self) -> None:
        """
        What is asked for is kept until it is answered, and at most 64 of that.
        """
        self.state.beginEntering("home", b"s" * 32, REALM)
        self.assertEqual(self.reload().remembered.entering["home"].secret, (b"s" * 32).hex())
        self.state.rememberNetwork(NETWORK, "home", b"s" * 32, REALM)
        self.assertEqual(self.reload().remembered.entering, {})
        for number in range(70):
            self.state.beginEntering(f"net {number}", None, REALM)
        self.assertEqual(len(self.reload().remembered.entering), 64)
        self.state.endEntering("net 69")
        self.assertNotIn("net 69", self.reload().remembered.entering)

    def test_forget(self) -> None:
        """
        A network that was left is gone, with its secret.
        """
        self.state.rememberNetwork(NETWORK, "home", b"s" * 32, REALM)
        self.state.forgetNetwork(NETWORK)
        self.assertIsNone(self.reload().secretOf(NETWORK))
        self.assertNotIn((b"s" * 32).hex(), self.path.read_text())

    def test_firewall(self) -> None:
        """
        A policy of the firewall is kept until it is open again, or the network is left.
        """
        self.state.rememberNetwork(NETWORK, "home", None, REALM)
        self.state.setFirewall([NETWORK], parsePolicy("tcp/22"))
        self.assertEqual(self.reload().remembered.firewall, {NETWORK.hex(): "tcp/22"})
        self.state.rememberNetwork(NETWORK, "home", None, REALM)
        self.assertEqual(self.reload().remembered.firewall, {NETWORK.hex(): "tcp/22"})
        self.state.setFirewall([NETWORK], OPEN)
        self.assertEqual(self.reload().remembered.firewall, {})
        self.state.setFirewall([NETWORK], parsePolicy("ping-only"))
        self.state.forgetNetwork(NETWORK)
        self.assertEqual(self.reload().remembered.firewall, {})

    def test_private(self) -> None:
        """
        The file holds secrets: nobody but its owner may read it.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.state.update(nick="ann")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_damaged(self) -> None:
        """
        A damaged file is refused in one line that names it, and left as it is.
        """
        self.state.rememberNetwork(NETWORK, "home", b"s" * 32, REALM)
        good = json.loads(self.path.read_text())
        bad = [
            b"",
            b"[]",
            b"{}",
            b"\xff",
            b"[" * 100_000,
            json.dumps({**good, "networks": {"00": {"name": "x", "secret": "zz"}}}).encode(),
            json.dumps({**good, "networks": {"00": {"name": "x", "secret": "00"}}}).encode(),
            json.dumps({**good, "pins": {"a": "zz"}}).encode(),
            json.dumps({**good, "version": "x"}).encode(),
            json.dumps({**good, "firewall": {NETWORK.hex(): "closed"}}).encode(),
            json.dumps({**good, "firewall": {NETWORK.hex(): 5}}).encode(),
            json.dumps({**good, "firewall": {"00": "open"}}).encode(),
            json.dumps({**good, "firewall": []}).encode(),
        ]
        for content in bad:
            self.path.write_bytes(content)
            error = self.assertRaises(StateError, self.reload)
            self.assertIn(str(self.path), str(error))
            self.assertNotIn("\n", str(error))
            self.assertEqual(self.path.read_bytes(), content)

    def test_newer(self) -> None:
        """
        A file of a newer version is refused with the advice to upgrade.
        """
        self.state.update(nick="ann")
        good = json.loads(self.path.read_text())
        self.path.write_text(json.dumps({**good, "version": 2}))
        self.assertIn("upgrade", str(self.assertRaises(StateError, self.reload)))

    def test_unwritable(self) -> None:
        """
        When the disk does not take a change, nothing changes in memory either.
        """
        state = StateFile(Path(self.mktemp()) / "missing" / "state.json")
        self.assertRaises(StateError, state.update, nick="ann")
        self.assertEqual(state.remembered.nick, "")

    def test_oldContentSurvives(self) -> None:
        """
        A write that was cut off before its end leaves the old content, and the next one succeeds.
        """
        self.state.update(nick="ann")
        self.path.with_name(f"{self.path.name}.new").write_bytes(b"half")
        self.assertEqual(self.reload().remembered.nick, "ann")
        self.state.update(nick="bea")
        self.assertEqual(self.reload().remembered.nick, "bea")

"""
Tests for the erasure of secrets, with a scan of the memory of a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.wipe import wipe

SCAN = Path(__file__).with_name("memoryscan.py")


class WipeTests(SynchronousTestCase):
    """
    L{wipe}.
    """

    def test_buffers(self) -> None:
        """
        Bytes and bytearrays are zeroed in place, and nothing about them is.
        """
        before, secret, after = os.urandom(32), os.urandom(32), os.urandom(32)
        copies = bytes(bytearray(before)), bytes(bytearray(after))
        array = bytearray(os.urandom(77))
        alias = memoryview(array)
        wipe(secret, array, None)
        self.assertEqual(secret, bytes(32))
        self.assertEqual(bytes(alias), bytes(77))
        self.assertEqual((before, after), copies)

    def test_shared(self) -> None:
        """
        Bytes so short that the interpreter may share them are left alone.
        """
        wipe(b"a", b"")
        self.assertEqual(bytes([97]), b"a".lower())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/mem")
class MemoryTests(SynchronousTestCase):
    """
    The memory of a process, looked through for keys.
    """

    def scan(self, *arguments: str) -> list[str]:
        """
        What the script finds.
        """
        words = [sys.executable, str(SCAN), *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_erased(self) -> None:
        """
        540 seconds after the last session, and after a peer is removed, no key of either session, no ephemeral key
        and no preshared key of it is anywhere in memory.
        """
        self.assertEqual(self.scan("expire"), [])
        self.assertEqual(self.scan("remove"), [])

    def test_scanFinds(self) -> None:
        """
        While the session lives the same scan finds keys, so that finding none means something.
        """
        self.assertIn("transport", self.scan("keep"))
        self.assertIn("preshared", self.scan("keep"))

"""
For which interfaces this computer forwards, and what is remembered of that.
"""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.lanroutes.forwarding import Forwarding


@define
class FakeSysctls:
    """
    Switches, and all that was written to them.
    """

    values: dict[str, str] = field(factory=lambda: {"all": "0", "eth0": "0", "eth1": "1", "vnet0": "0"})
    written: list[tuple[str, str]] = field(factory=list)
    refusing: bool = False

    def read(self, version: int, interface: str) -> str:
        """One of them."""
        return self.values.get(interface, "")

    def write(self, version: int, interface: str, value: str) -> None:
        """Keep it."""
        if self.refusing or interface not in self.values:
            raise OSError(30, "Read-only file system")
        self.values[interface] = value
        self.written.append((interface, value))


class ForwardingTests(SynchronousTestCase):
    """
    Tests of L{Forwarding}.
    """

    def setUp(self) -> None:
        self.sysctls = FakeSysctls()
        self.memory = Path(self.mktemp())
        self.forwarding = self.start()

    def start(self, kernel: str = "this") -> Forwarding:
        """Another one, after the one before has died."""
        found = Forwarding(self.memory, self.sysctls, kernel)
        found.recover()
        return found

    def take(self) -> list[tuple[str, str]]:
        """What was written since."""
        taken, self.sysctls.written = self.sysctls.written, []
        return sorted(taken)

    def test_hold(self) -> None:
        """
        Where it is off it is turned on, and off again; where it is on it stays as it is, and nothing is written.
        """
        self.assertEqual(self.forwarding.lacking(("eth0", "eth1", "vnet0")), {"eth0", "vnet0"})
        self.forwarding.hold(("eth0", "eth1", "vnet0"))
        self.assertEqual(self.take(), [("eth0", "1"), ("vnet0", "1")])
        self.assertEqual(self.forwarding.lacking(("eth0", "eth1", "vnet0")), {"eth0", "vnet0"})
        self.forwarding.hold(("eth0", "eth1", "vnet0"))
        self.assertEqual(self.take(), [])
        self.forwarding.hold(("eth1", "vnet0"))
        self.assertEqual(self.take(), [("eth0", "0")])
        self.forwarding.hold(())
        self.assertEqual(self.take(), [("vnet0", "0")])
        self.assertFalse(self.memory.exists())

    def test_crash(self) -> None:
        """
        After a crash what was turned on is turned off, what is not there any more is left out, and it is forgotten then.
        """
        self.forwarding.hold(("eth0", "eth1", "vnet0"))
        del self.sysctls.values["vnet0"]
        self.take()
        self.start()
        self.assertEqual(self.take(), [("eth0", "0")])
        self.assertEqual(self.sysctls.values["eth1"], "1")
        self.sysctls.values["eth0"] = "1"
        self.start()
        self.assertEqual(self.take(), [])

    def test_order(self) -> None:
        """
        What is about to be turned on is remembered before.
        """
        self.sysctls.refusing = True
        self.assertRaises(OSError, self.forwarding.hold, ("eth0",))
        self.assertIn(b"eth0", self.memory.read_bytes())
        self.sysctls.refusing = False
        self.forwarding.hold(())
        self.assertFalse(self.memory.exists())

    def test_otherKernel(self) -> None:
        """
        What was true before the computer started anew is nothing to go by.
        """
        self.forwarding.hold(("eth0",))
        self.take()
        self.start("another")
        self.assertEqual(self.take(), [])

    def test_everything(self) -> None:
        """
        Who turns on all of it meanwhile keeps it.
        """
        self.forwarding.hold(("eth0", "vnet0"))
        self.sysctls.values.update({"all": "1", "eth0": "1"})
        self.take()
        self.assertEqual(self.forwarding.lacking(("eth0", "vnet0")), frozenset())
        self.forwarding.hold(("eth0", "vnet0"))
        self.forwarding.hold(())
        self.start()
        self.assertEqual(self.take(), [])

    def test_exception(self) -> None:
        """
        An interface that is left out where all others forward is turned on, and off again, also after a crash; who turns off all of
        them meanwhile, and on again, keeps that.
        """
        self.sysctls.values.update({"all": "1", "vnet0": "1"})
        self.assertEqual(self.forwarding.lacking(("eth0", "eth1", "vnet0")), {"eth0"})
        for end in (lambda: self.forwarding.hold(()), self.start):
            self.forwarding.hold(("eth0", "vnet0"))
            self.forwarding.hold(("eth0", "vnet0"))
            self.assertEqual(self.take(), [("eth0", "1")])
            self.assertEqual(self.forwarding.lacking(("eth0", "vnet0")), {"eth0"})
            end()
            self.assertEqual(self.take(), [("eth0", "0")])
        self.forwarding = self.start()
        self.forwarding.hold(("eth0",))
        self.sysctls.values.update(dict.fromkeys(self.sysctls.values, "0"))
        self.forwarding.hold(("eth0",))
        self.assertEqual(self.take(), [("eth0", "1"), ("eth0", "1")])
        self.sysctls.values.update(dict.fromkeys(self.sysctls.values, "1"))
        self.forwarding.hold(("eth0",))
        self.assertFalse(self.memory.exists())
        # And who leaves one out only now.
        self.sysctls.values["eth0"] = "0"
        self.forwarding.hold(("eth0",))
        self.forwarding.hold(())
        self.assertEqual(self.take(), [("eth0", "0"), ("eth0", "1")])

    def test_turnedOff(self) -> None:
        """
        Who turns off all of it does so until it is looked at again.
        """
        self.forwarding.hold(("eth0",))
        self.sysctls.values["eth0"] = "0"
        self.take()
        self.forwarding.hold(("eth0",))
        self.assertEqual(self.take(), [("eth0", "1")])

    def test_damaged(self) -> None:
        """
        A damaged memory costs nothing but what it held.
        """
        for content in (
            b"",
            b"[]",
            b'"x"',
            b'{"kernel": "this"}',
            b'{"kernel": "this", "interfaces": 7}',
            b'{"kernel": "this", "interfaces": [], "exceptions": 7}',
            b"\xff",
        ):
            self.memory.write_bytes(content)
            self.start()
            self.assertEqual(self.take(), [])

    def test_fullDisk(self) -> None:
        """
        What cannot be remembered is not turned on.
        """
        forwarding = Forwarding(self.memory / "missing" / "file", self.sysctls, "this")
        forwarding.recover()
        self.assertRaises(OSError, forwarding.hold, ("eth0",))
        self.assertEqual(self.take(), [])

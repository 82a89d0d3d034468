"""
Tests for L{vnet.protocols.machine.admission}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.admission import Admission


class AdmissionTests(SynchronousTestCase):
    """
    L{Admission}.
    """

    def test_subscriber(self) -> None:
        """All IPv6 addresses of one /64 are one source."""
        admission = Admission(perSource=2)
        self.assertTrue(admission.enter("2001:db8::1"))
        self.assertTrue(admission.enter("2001:db8::2"))
        self.assertFalse(admission.enter("2001:db8::3"))
        self.assertTrue(admission.enter("2001:db8:0:1::1"))
        self.assertEqual(1, admission.refused)

    def test_site(self) -> None:
        """All /64 of one IPv6 /48 have eight times what one has, until some have left; another /48 has its own."""
        admission = Admission(perSource=2)
        hosts = [f"2001:db8:0:{number:x}::1" for number in range(17)]
        self.assertEqual([True] * 16 + [False], [admission.enter(host) for host in hosts])
        self.assertTrue(admission.enter("2001:db8:1::1"))
        admission.logIn(hosts[0])
        self.assertTrue(admission.enter(hosts[16]))
        admission.leave(hosts[1], False)
        self.assertTrue(admission.enter(hosts[1]))
        self.assertFalse(admission.enter(hosts[2]))

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["enter", "login", "leave"])), max_size=60))
    def test_balanced(self, steps: list[tuple[int, str]]) -> None:
        """Whatever comes and goes, nothing is left when all have gone, and no limit is passed on the way."""
        admission = Admission(perSource=3, strangers=5, total=7)
        inside: list[list[object]] = []
        for host, step in steps:
            name = f"192.0.2.{host}" if host < 2 else f"2001:db8:0:{host}::1"
            if step == "enter" and admission.enter(name):
                inside.append([name, False])
            elif step == "login":
                for each in inside:
                    if each == [name, False]:
                        admission.logIn(name)
                        each[1] = True
                        break
            elif step == "leave" and inside:
                host_, loggedIn = inside.pop()
                admission.leave(str(host_), bool(loggedIn))
            self.assertLessEqual(len(inside), 7)
            self.assertLessEqual(sum(not loggedIn for _, loggedIn in inside), 5)
        for host_, loggedIn in inside:
            admission.leave(str(host_), bool(loggedIn))
        self.assertEqual((0, 0, {}), (admission._open, admission._strangers, admission._bySource))

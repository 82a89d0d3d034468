"""
What people read of the firewall.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.wording import firewallLines, firewallSummary, openHint
from vnet.client.render import Style, renderFirewall, renderPeer, renderStatus
from vnet.test.hostile import HARM, hostileTexts
from vnet.testing_node import FakeNode

NAME = "it's; home"


class WordingTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.firewall.wording}, and of where it is shown.
    """

    def test_status(self) -> None:
        """
        One line names the networks that are open, and how that is limited; without networks there is none.
        """
        status = self.successResultOf(FakeNode().status())
        [line] = [each for each in renderStatus(status, Style()).splitlines() if "firewall" in each]
        self.assertIn("open to home; to limit that: vnet firewall NETWORK ping-only", line)
        closed = [{"network": "work", "policy": "ping-only"}]
        self.assertEqual(
            firewallSummary({"firewall": closed}), [("firewall", "no network is open: see 'vnet firewall'")]
        )
        empty: tuple[dict[str, object], ...] = ({}, {"firewall": []}, {"firewall": 1}, {"firewall": [1]})
        for nothing in empty:
            self.assertEqual(firewallSummary(nothing), [])
        many = [{"network": f"n{number}", "policy": "open"} for number in range(99)]
        self.assertIn("n7 and 91 more;", firewallSummary({"firewall": many})[0][1])

    def test_hint(self) -> None:
        """
        Who enters a network that is open reads the command that limits it, ready for a shell.
        """
        hint = openHint({"network": NAME, "firewall": "open"})
        self.assertIn("""vnet firewall 'it'"'"'s; home' ping-only""", hint)
        self.assertEqual(openHint({"network": NAME, "firewall": "ping-only"}) + openHint({}), "")

    def test_policies(self) -> None:
        """
        Each network with its policy and what was dropped.
        """
        answer = self.successResultOf(FakeNode().firewall(None, None))
        self.assertEqual(
            firewallLines(answer),
            [
                ("home", "open: all of this computer can be reached"),
                ("work", "pings only; 12 packets dropped"),
                ("no network", "3 packets dropped"),
            ],
        )
        self.assertIn("no network\n", renderFirewall({}, Style()))

    def test_peer(self) -> None:
        """
        A peer shows what it may, unless that is all.
        """
        peer = self.successResultOf(FakeNode().peer("bob"))
        self.assertNotIn("let in", renderPeer({**peer, "firewall": "open"}, Style()))
        self.assertIn("let in     pings and tcp/22\n", renderPeer({**peer, "firewall": "tcp/22"}, Style()))

    def test_hostile(self) -> None:
        """
        Names of networks do no harm.
        """
        for text in hostileTexts(50):
            shown = renderFirewall(
                {"networks": [{"name": text, "policy": text, "dropped": text}], "droppedOthers": text},
                Style(),
            )
            shown += openHint({"network": text, "firewall": "open"})
            shown += repr(firewallSummary({"firewall": [{"network": text, "policy": "open"}]}))
            self.assertIsNone(HARM.search(shown.replace("\n", "")), ascii(text))

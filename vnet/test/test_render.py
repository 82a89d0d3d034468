"""
Tests for L{vnet.client.render}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.cells import cell_len
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.listing import Selection
from vnet.client.render import (
    Style,
    harmless,
    renderNatReport,
    renderNetworks,
    renderPeer,
    renderSharedLans,
    renderStatus,
    styleOf,
)
from vnet.test.hostile import HARM, SGR, hostileTexts
from vnet.testing_node import ID, FakeNode, member

PLAIN = Style()
COLOURED = Style(100, True)


def networks() -> dict[str, Any]:
    return {"networks": FakeNode().members}


class NetworksTests(SynchronousTestCase):
    """
    L{renderNetworks}.
    """

    def test_list(self) -> None:
        """The list reads like Hamachi's."""
        self.assertEqual(
            renderNetworks(networks(), PLAIN, ID).splitlines(),
            [
                "home  online  2/5 online  owner you",
                "*  100.64.0.2  alice  direct       12.3 ms  198.51.100.4:40001",
                "*  100.64.0.3  bob    relayed      48.0 ms  by relay.example:443 over TLS",
                "   100.64.0.4  carol  offline",
                "?  100.64.0.5  dave   lost",
                "x  100.64.0.6  eve    unreachable",
                "work  offline  no other members yet  owner 00000000000…",
            ],
        )

    def test_owner(self) -> None:
        """An owner who is a member has its nickname."""
        value = networks()
        value["networks"][0]["owner"] = f"{3:064x}"
        self.assertIn("owner bob\n", renderNetworks(value, PLAIN, ID))

    def test_loggedOut(self) -> None:
        """Of a network that only this node's memory knows it is said that the members are not known."""
        only: dict[str, Any] = {
            "name": "home",
            "state": "offline",
            "owner": None,
            "protected": True,
            "members": [],
        }
        text = renderNetworks({"networks": [only]}, PLAIN, ID)
        self.assertEqual(text, "home  offline  members not known while logged out  owner -\n")

    def test_pages(self) -> None:
        """A page says which of how many members it shows, and how to get the next; the counts are the network's."""
        members = [member(number, f"m{number}") for number in range(1, 3)]
        counts = {"memberCount": 2000, "onlineCount": 1203, "foundCount": 2000, "ownerNick": "zoe"}
        one = {"name": "it's", "state": "online", "owner": "ee" * 32, "members": members, **counts}
        for selection, more in (
            (
                Selection(page=1, perPage=2),
                "members 1-2 of 2,000: vnet list --per-page 2 --page 2 'it'\"'\"'s'",
            ),
            (
                Selection(None, "a b", "online", 3, 2),
                "members 5-6 of 2,000: vnet list --search 'a b' --online --per-page 2 --page 4 'it'\"'\"'s'",
            ),
            (Selection(page=1000, perPage=2), "members 1,999-2,000 of 2,000"),
        ):
            lines = renderNetworks({"networks": [one]}, PLAIN, ID, selection).splitlines()
            self.assertEqual(lines[0], "it's  online  1203/2000 online  owner zoe")
            self.assertEqual((len(lines), lines[3]), (4, more))
        whole = {**one, "foundCount": 2}
        self.assertEqual(len(renderNetworks({"networks": [whole]}, PLAIN, ID).splitlines()), 3)

    def test_optionLike(self) -> None:
        """A network whose name looks like an option is named so that it is none."""
        one = {"name": "--online", "state": "online", "members": [member(1, "m")], "foundCount": 2}
        text = renderNetworks({"networks": [one]}, PLAIN, ID, Selection(page=1))
        self.assertIn(": vnet list --page 2 -- --online\n", text)

    def test_nothingFound(self) -> None:
        """Where nobody is found, or no page is left, that is said; networks without anybody found are left out."""
        empty = {"name": "n", "state": "online", "members": [], "foundCount": 0}
        found = {"name": "m", "state": "online", "members": [member(2, "bob")], "foundCount": 1}
        searched, paged = Selection(search="x"), Selection(page=2)
        self.assertEqual(renderNetworks({"networks": [empty]}, PLAIN, ID, searched), "No member is found.\n")
        self.assertEqual(renderNetworks({"networks": [empty]}, PLAIN, ID, paged), "There is no such page.\n")
        both = renderNetworks({"networks": [empty, found]}, PLAIN, ID, searched)
        self.assertEqual(len(both.splitlines()), 2)
        self.assertIn("n  online", renderNetworks({"networks": [empty]}, PLAIN, ID))

    def test_noNetworks(self) -> None:
        """Who is in no network reads how to get into one."""
        self.assertIn("vnet create", renderNetworks({"networks": []}, PLAIN))

    def test_piped(self) -> None:
        """A line of a pipe or file is never broken or cut."""
        long = {
            "networks": [
                {"name": "n", "state": "online", "members": [member(2, "w" * 32, endpoint="e" * 300)]}
            ]
        }
        lines = renderNetworks(long, PLAIN).splitlines()
        self.assertEqual(len(lines), 2)
        self.assertIn("e" * 300, lines[1])

    def test_narrow(self) -> None:
        """On a narrow terminal a line is cut, not broken, after the address and the nickname."""
        lines = [SGR.sub("", text) for text in renderNetworks(networks(), Style(40, True), ID).splitlines()]
        self.assertEqual(len(lines), 7)
        self.assertTrue(all(cell_len(text) <= 40 for text in lines), lines)
        self.assertIn("100.64.0.2  alice", lines[1])

    def test_colours(self) -> None:
        """Colours change no text."""
        coloured = renderNetworks(networks(), COLOURED, ID)
        self.assertIn("\x1b[", coloured)
        stripped = [text.rstrip() for text in SGR.sub("", coloured).splitlines()]
        self.assertEqual(stripped, renderNetworks(networks(), PLAIN, ID).splitlines())

    def test_malformed(self) -> None:
        """An answer of unexpected shape is shown as far as it goes."""
        values: list[dict[str, Any]] = [
            {},
            {"networks": None},
            {"networks": [None, {}, {"members": [{}, 1]}]},
            {"networks": {}},
        ]
        for value in values:
            self.assertIsInstance(renderNetworks(value, PLAIN), str)


class BlockTests(SynchronousTestCase):
    """
    L{renderPeer}, L{renderStatus} and L{renderNatReport}.
    """

    def test_peer(self) -> None:
        """A peer is shown with its path, and why it is not direct."""
        text = renderPeer(FakeNode().peer("bob").result, PLAIN)  # type: ignore[arg-type]
        for part in (
            "path       relayed, 203.0.113.9:40000\n",
            "relay      relay.example:443 over TLS\n",
            "48.0 ms",
            "1 min 12 s ago",
            "1.5 KiB",
            "5.0 MiB",
            "NAT there  gives each destination another port, at random; lets in answers only\n",
            "tried      2 addresses: 192.168.1.20:41641, 203.0.113.9:23114; through the relay relay.example:443\n",
            "heard      203.0.113.9:40000 through relay.example:443\n",
            "pings      are answered\n",
            "why        both",
            "help       switch on",
        ):
            self.assertIn(part, text)

    def test_status(self) -> None:
        """The status is shown with what it means."""
        text = renderStatus(FakeNode().status().result, PLAIN)  # type: ignore[arg-type]
        for part in (
            "me\n",
            "online: connected",
            "100.64.0.1, fd00:1::1",
            "41641",
            "Direct links work with nearly everyone",
            "relays    relay.example:3478 over UDP (20.5 ms)\n",
        ):
            self.assertIn(part, text)

    def test_relays(self) -> None:
        """Where there is no relay it is said why; a peer's relay is shown where only its address is known."""
        status = {"state": "online", "relays": [], "relayError": "relay turn:r: it is full"}
        self.assertIn("relays    none: relay turn:r: it is full\n", renderStatus(status, PLAIN))
        peer = {
            "path": "relayed",
            "relay": "192.0.2.9:50000",
            "transport": "udp",
            "endpoint": "192.0.2.9:50000",
        }
        self.assertIn("relay      192.0.2.9:50000 over UDP\n", renderPeer(peer, PLAIN))

    def test_problem(self) -> None:
        """What keeps the node from being online is shown."""
        status = {"state": "connecting", "error": "the mediator m does not answer"}
        self.assertIn("problem   the mediator m does not answer\n", renderStatus(status, PLAIN))

    def test_natReport(self) -> None:
        """The report is shown with the client's own sentence, if it has one."""
        report: dict[str, Any] = {"udp": False}
        self.assertIn("Allow outgoing UDP", renderNatReport(report, PLAIN))
        self.assertIn("is blocked", renderNatReport(report, PLAIN))
        self.assertIn("As you like it", renderNatReport({**report, "summary": "As you like it"}, PLAIN))

    def test_empty(self) -> None:
        """Whatever is missing is shown as missing."""
        for render in (renderPeer, renderStatus, renderNatReport):
            self.assertNotIn("None", render({}, PLAIN))


class StyleTests(SynchronousTestCase):
    """
    L{styleOf}.
    """

    def test_styles(self) -> None:
        """There are colours on a terminal only, and not where NO_COLOR or a dumb terminal forbids them."""
        self.assertEqual(styleOf(False, {"TERM": "xterm"}, 80), Style(None, False))
        self.assertEqual(styleOf(True, {"TERM": "xterm"}, 80), Style(80, True))
        self.assertEqual(styleOf(True, {"TERM": "xterm", "NO_COLOR": ""}, 80), Style(80, True))
        self.assertEqual(styleOf(True, {"TERM": "xterm", "NO_COLOR": "1"}, 80), Style(80, False))
        self.assertEqual(styleOf(True, {"TERM": "dumb"}, 80), Style(80, False))
        self.assertEqual(styleOf(True, {}, 1), Style(40, False))


class LanTests(SynchronousTestCase):
    """
    LANs that are shared.
    """

    LAN: ClassVar[dict[str, Any]] = {
        "prefix": "192.168.7.0/24",
        "state": "used",
        "why": None,
        "network": "home",
    }

    def test_list(self) -> None:
        """The list says in brief what members share, and what this computer shares."""
        sharing = [member(2, "alice", lans=[self.LAN])]
        value = {"networks": [{"name": "home", "owner": ID, "members": sharing, "ownLans": [self.LAN]}]}
        first, second = renderNetworks(value, PLAIN, ID).splitlines()
        self.assertTrue(first.endswith("owner you  you: LAN 192.168.7.0/24 used"), first)
        self.assertTrue(second.endswith("LAN 192.168.7.0/24 used"), second)

    def test_peer(self) -> None:
        """A peer's LANs have a line each, with the reason where one cannot be used."""
        blocked = {**self.LAN, "state": "blocked", "why": "it overlaps"}
        text = renderPeer(member(2, "alice", lans=[self.LAN, blocked]), PLAIN)
        self.assertRegex(text, r"LAN +192.168.7.0/24 in home; used\n")
        self.assertIn("192.168.7.0/24 in home; not possible now: it overlaps", text)

    def test_none(self) -> None:
        """Where there are none it is said how one is shared."""
        self.assertIn("vnet share-lan", renderSharedLans({"lans": []}, PLAIN))


class HostileTests(SynchronousTestCase):
    """
    No text of a stranger does anything to a terminal.
    """

    def check(self, text: str, coloured: bool, lines: int) -> None:
        rest = SGR.sub("", text) if coloured else text
        self.assertIsNone(HARM.search(rest))
        text.encode("utf-8")
        self.assertEqual(text.count("\n"), lines)

    def test_members(self) -> None:
        """5,000 hostile nicknames give one harmless line each, with and without colours."""
        texts = hostileTexts(5000)
        value = {
            "networks": [
                {"name": "n", "state": "online", "members": [member(i, text) for i, text in enumerate(texts)]}
            ]
        }
        for style in (PLAIN, COLOURED):
            self.check(renderNetworks(value, style), style.colour, 5001)

    def test_everyField(self) -> None:
        """A hostile text in any field of any answer is harmless."""
        for text in hostileTexts(300, seed=2):
            fields = dict.fromkeys(
                (
                    "nick",
                    "address",
                    "state",
                    "path",
                    "endpoint",
                    "why",
                    "clientId",
                    "mediator",
                    "nat",
                    "summary",
                    "name",
                    "owner",
                    "transport",
                    "relay",
                    "relayError",
                    "latencyMs",
                    "udpPort",
                    "publicAddress",
                    "publicAddress6",
                    "udp",
                ),
                text,
            )
            value = {"networks": [{**fields, "members": [fields]}]}
            rendered = [renderNetworks(value, COLOURED)]
            rendered += [renderStatus({**fields, "relays": relays}, COLOURED) for relays in (text, [fields])]
            rendered += [render(fields, COLOURED) for render in (renderPeer, renderStatus, renderNatReport)]
            for shownText in rendered:
                self.assertIsNone(HARM.search(SGR.sub("", shownText)))

    def test_lans(self) -> None:
        """The same of LANs, in the list of them, in that of networks and in the report on a peer."""
        for text in hostileTexts(60, seed=3):
            lan = dict.fromkeys(("prefix", "network", "nick", "address", "state", "why"), text)
            network = {"name": "n", "members": [member(2, "a", lans=[lan])], "ownLans": [lan]}
            for rendered in (
                renderSharedLans({"lans": [lan, {**lan, "state": "offered"}]}, COLOURED),
                renderPeer(member(2, "a", lans=[lan]), COLOURED),
                renderNetworks({"networks": [network]}, COLOURED),
            ):
                self.assertIsNone(HARM.search(SGR.sub("", rendered)))

    def test_gate(self) -> None:
        """The last gate lets newlines pass, and colours only if they are wanted."""
        self.assertEqual(harmless("a\n\x1b[1mb\x1b[2J\x9b\u202e", True), "a\n\x1b[1mb\ufffd[2J\ufffd\ufffd")
        self.assertEqual(harmless("a\n\x1b[1mb"), "a\n\ufffdb")

"""
What rules of others do with what is forwarded.
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.barrier import Barrier
from vnet.client.firewall.passage import (
    MOST_STEPS,
    OtherTable,
    Passage,
    barrierTo,
    forwardingTables,
    readTable,
)

LAN, BLOCK = ip_network("192.168.7.0/24"), ip_network("100.64.0.0/10")
ASKED = Passage("vnet0", "vnet0", "eth0", BLOCK, LAN, "new")
ANSWERED = Passage("vnet0", "eth0", "vnet0", LAN, BLOCK, "established")
SIX = Passage("vnet0", "vnet0", "eth0", ip_network("fd76:1:2::/48"), ip_network("fd05::/64"), "new")
ACCEPT, DROP, REJECT, RETURN = ({kind: None} for kind in ("accept", "drop", "reject", "return"))
COUNTER = {"counter": {"packets": 0, "bytes": 0}}


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def interface(way: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": f"{way}ifname"}}, right, op)


def address(field: str, right: Any, op: str = "==", protocol: str = "ip") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": field}}, right, op)


def tracked(right: Any, op: str = "in") -> dict[str, Any]:
    return match({"ct": {"key": "state"}}, right, op)


def network(text: str) -> dict[str, Any]:
    base, _, length = text.partition("/")
    return {"prefix": {"addr": base, "len": int(length)}}


def jump(target: str, kind: str = "jump") -> dict[str, Any]:
    return {kind: {"target": target}}


PORT = match({"payload": {"protocol": "tcp", "field": "dport"}}, 80)
WORDS = (
    "payload",
    "protocol",
    "jump",
    "target",
    "prefix",
    "range",
    "xt",
    "drop",
    "ct",
    "field",
    "addr",
    "len",
)
CONNTRACK = {"xt": {"type": "match", "name": "conntrack"}}


class PassageTests(SynchronousTestCase):
    """
    Tests of L{barrierTo}.
    """

    def drops(
        self, *rules: list[dict[str, Any]], policy: str = "drop", passage: Passage = ASKED, **chains: Any
    ) -> bool:
        table = OtherTable("inet", "t", {"FORWARD": policy}, {"FORWARD": rules, **chains})
        found = barrierTo([table], [passage])
        self.assertIn(found and found.chain, ("FORWARD", None))
        return found is not None

    def test_policy(self) -> None:
        """
        A policy drops what no rule lets through; one of another version of IP has nothing to say.
        """
        self.assertTrue(self.drops())
        self.assertFalse(self.drops(policy="accept"))
        self.assertFalse(self.drops([COUNTER, ACCEPT]))
        for family, passage, isBarrier in (("ip", ASKED, True), ("ip6", ASKED, False), ("ip6", SIX, True)):
            table = OtherTable(family, "filter", {"FORWARD": "drop"}, {"FORWARD": []})
            self.assertEqual(barrierTo([table], [passage]) is not None, isBarrier)

    def test_docker(self) -> None:
        """
        Docker drops what none of its rules is about, until DOCKER-USER lets it through both ways.
        """
        forward = [
            [COUNTER, jump("DOCKER-USER")],
            [interface("o", "docker0"), CONNTRACK, COUNTER, ACCEPT],
            [interface("i", "docker0"), interface("o", "docker0", "!="), COUNTER, ACCEPT],
        ]
        for passage in (ASKED, ANSWERED):
            users: list[list[dict[str, Any]]] = [[COUNTER, RETURN]]
            chains = {"DOCKER-USER": users, "FORWARD": forward}
            tables = [OtherTable("ip", "filter", {"FORWARD": "drop"}, chains)]
            found = barrierTo(tables, [passage])
            assert found is not None
            self.assertEqual((found.keeper, found.isPolicy), ("Docker", True))
            self.assertEqual(
                found.help("vnet0", "192.168.7.0/24"),
                [
                    "sudo iptables -I DOCKER-USER -i vnet0 -d 192.168.7.0/24 -j ACCEPT",
                    "sudo iptables -I DOCKER-USER -o vnet0 -s 192.168.7.0/24 -j ACCEPT",
                ],
            )
            users.insert(0, [interface("i", "vnet0"), address("daddr", network("192.168.7.0/24")), ACCEPT])
            self.assertEqual(barrierTo(tables, [passage]) is None, passage is ASKED)
            users.insert(0, [interface("o", "vnet0"), address("saddr", network("192.168.7.0/24")), ACCEPT])
            self.assertIsNone(barrierTo(tables, [passage]))

    def test_firewalld(self) -> None:
        """
        firewalld rejects at the end of the chain what is of no zone that lets it through; it lets answers through.
        """
        rules = [
            [tracked({"set": ["established", "related"]}, "=="), ACCEPT],
            [match({"ct": {"key": "status"}}, "dnat", "in"), ACCEPT],
            [interface("i", "lo"), ACCEPT],
            [tracked("invalid"), DROP],
            [jump("zones")],
            [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
        ]
        public: Any = {"zones": [[interface("i", "eth0"), jump("trusted", "goto")]], "trusted": [[ACCEPT]]}
        self.assertTrue(self.drops(*rules, policy="accept", **public))
        self.assertFalse(self.drops(*rules, policy="accept", passage=ANSWERED, **public))
        public["zones"].append([interface("i", "vnet0"), jump("trusted", "goto")])
        self.assertFalse(self.drops(*rules, policy="accept", **public))
        barrier = Barrier("inet", "firewalld", "filter_FORWARD", (), False)
        self.assertIn("firewalld", barrier.why)
        self.assertIn("--zone=trusted --change-interface=vnet0", barrier.help("vnet0", str(LAN))[0])

    def test_help(self) -> None:
        """
        What to type depends on whose table it is; names are quoted.
        """
        ufw = Barrier("ip6", "filter", "FORWARD", ("ufw6-user-forward",))
        self.assertEqual(ufw.help("vnet0", "fd05::/64")[0], "sudo ufw route allow in on vnet0 to fd05::/64")
        plain = Barrier("ip6", "filter", "FORWARD", ())
        self.assertEqual(
            plain.help("vnet0", "fd05::/64")[1], "sudo ip6tables -I FORWARD -o vnet0 -s fd05::/64 -j ACCEPT"
        )
        own = Barrier("inet", "my;table", "f", ())
        self.assertEqual(
            own.help("vnet0", "fd05::/64")[0],
            "sudo nft insert rule inet 'my;table' f iifname vnet0 ip6 daddr fd05::/64 accept",
        )
        self.assertIn("another firewall", own.why)

    def test_addresses(self) -> None:
        """
        What a rule says of addresses holds for all of a prefix, for nothing of it, or it is not known.
        """
        for right, isSure in (
            (network("192.168.0.0/16"), True),
            ({"range": ["192.168.7.0", "192.168.8.9"]}, True),
            ({"set": ["10.0.0.1", network("192.168.7.0/24")]}, True),
            (network("192.168.7.0/25"), False),
            ("192.168.7.9", False),
            ("@named", False),
            (network("10.0.0.0/8"), False),
            ("nonsense", False),
            ({"prefix": "nonsense"}, False),
        ):
            self.assertEqual(self.drops([address("daddr", right), DROP], policy="accept"), isSure, right)
        self.assertTrue(self.drops([address("daddr", "10.0.0.1", "!="), DROP], policy="accept"))
        self.assertFalse(
            self.drops([address("daddr", network("192.168.7.0/24"), "!="), DROP], policy="accept")
        )
        six = address("daddr", network("fd05::/64"), protocol="ip6")
        self.assertFalse(self.drops([six, DROP], policy="accept"))
        self.assertTrue(self.drops([six, DROP], policy="accept", passage=SIX))

    def test_interfaces(self) -> None:
        """
        Names of interfaces, sets of them, and what only begins like them.
        """
        for right, isSo in (
            ("vnet0", True),
            ("vnet*", True),
            ("vnet", False),
            ({"set": ["a", "vnet0"]}, True),
        ):
            self.assertEqual(self.drops([interface("i", right), ACCEPT]), not isSo, right)
            self.assertEqual(self.drops([interface("i", right, "!="), ACCEPT]), isSo, right)
        self.assertTrue(self.drops([interface("o", "vnet0"), ACCEPT]))
        self.assertFalse(self.drops([interface("o", "vnet0"), ACCEPT], passage=ANSWERED))

    def test_unknown(self) -> None:
        """
        What a rule asks for beside that is not known: it lets through only what it is about, and drops nothing; answers pass.
        """
        for doubtful in (PORT, CONNTRACK, {"limit": {"rate": 3}}, match({"meta": {"key": "mark"}}, 1)):
            self.assertTrue(self.drops([doubtful, ACCEPT]))
            self.assertFalse(self.drops([doubtful, ACCEPT], passage=ANSWERED))
            self.assertFalse(self.drops([interface("i", "vnet0"), doubtful, ACCEPT]))
            self.assertFalse(self.drops([address("daddr", "192.168.7.9"), doubtful, ACCEPT]))
            self.assertFalse(self.drops([doubtful, DROP], policy="accept"))
            self.assertFalse(self.drops([doubtful, jump("sub")], policy="accept", sub=[[DROP]]))
            self.assertTrue(self.drops([doubtful, jump("sub")], sub=[[ACCEPT]]))
        comment = {"xt": {"type": "match", "name": "comment"}}
        self.assertTrue(self.drops([comment, DROP], policy="accept"))
        target = {"xt": {"type": "target", "name": "REJECT"}}
        self.assertTrue(self.drops([COUNTER, target], policy="accept"))
        self.assertFalse(self.drops([PORT, target], policy="accept"))
        self.assertFalse(self.drops([{"xt": {"type": "target", "name": "LOG"}}], policy="accept"))

    def test_maps(self) -> None:
        """
        Maps of verdicts.
        """
        states = [["invalid", DROP], ["established", ACCEPT], ["new", jump("fresh")]]
        rule = [{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": states}}}]
        self.assertFalse(self.drops(rule, passage=ANSWERED))
        self.assertFalse(self.drops(rule, fresh=[[interface("i", "vnet0"), ACCEPT]]))
        self.assertTrue(self.drops(rule, fresh=[[RETURN], [ACCEPT]]))

    def test_endless(self) -> None:
        """
        Chains that lead into each other without end, or in very many ways, are left in peace.
        """
        self.assertFalse(self.drops([jump("FORWARD")]))
        wide: Any = {f"c{number}": [[jump(f"c{number + 1}")]] * 10 for number in range(12)}
        self.assertFalse(self.drops([jump("c0")], **wide))
        self.assertFalse(self.drops(*[[COUNTER]] * (MOST_STEPS + 1)))

    def test_listing(self) -> None:
        """
        Tables are found by their chains; ours, and those of other hooks, are none.
        """

        def chain(family: str, table: str, name: str, **base: object) -> dict[str, object]:
            return {"chain": {"family": family, "table": table, "name": name, **base}}

        forward = {"type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}
        listed = [
            {"metainfo": {"version": "1.0.6"}},
            chain("ip", "filter", "FORWARD", **forward),
            chain("ip", "filter", "other"),
            chain("inet", "vnet-vnet0", "forward", **forward),
            chain("bridge", "filter", "FORWARD", **forward),
            chain("ip", "nat", "PREROUTING", **{**forward, "hook": "prerouting"}),
        ]
        listing = json.dumps({"nftables": listed}).encode()
        self.assertEqual(forwardingTables(listing, "vnet-vnet0"), [("ip", "filter")])
        rule = {"rule": {"family": "ip", "table": "filter", "chain": "other", "expr": [DROP, "odd"]}}
        listing = json.dumps({"nftables": [*listed[1:3], rule]}).encode()
        table = readTable(listing, "ip", "filter")
        self.assertEqual(table.bases, {"FORWARD": "drop"})
        self.assertEqual(table.chains, {"FORWARD": [], "other": [[DROP]]})
        for garbage in (b"", b"{}", b"[]", b'{"nftables": 1}', b'{"nftables": [1]}'):
            self.assertRaises(ValueError, forwardingTables, garbage, "vnet-vnet0")

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.sampled_from(["==", "@s", "10.0.0.1", "new", "a*"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["match", "vmap", "key", "data", "set", "op", "left", "right", "meta", *WORDS]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_garbage(self, value: Any) -> None:
        """
        Whatever rules look like, there is an answer.
        """
        rule = {"rule": {"chain": "FORWARD", "expr": value if isinstance(value, list) else [value]}}
        table = readTable(json.dumps({"nftables": [rule]}).encode(), "inet", "t")
        barrierTo([OtherTable("inet", "t", {"FORWARD": "drop"}, table.chains)], [ASKED, ANSWERED, SIX])

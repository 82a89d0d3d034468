"""
Policies of the firewall as text.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.policy import MAXIMUM_RANGES, OPEN, PING_ONLY, Policy, parsePolicy, union
from vnet.errors import DecodeError

RANGES = st.lists(
    st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(1, 65535), st.integers(0, 300)),
    min_size=1,
    max_size=20,
)


class PolicyTests(SynchronousTestCase):
    """
    Tests of L{parsePolicy} and L{union}.
    """

    def test_words(self) -> None:
        """
        The two words, and what they are.
        """
        self.assertEqual((parsePolicy("open"), parsePolicy("ping-only")), (OPEN, PING_ONLY))
        self.assertEqual((str(OPEN), str(PING_ONLY)), ("open", "ping-only"))

    def test_ports(self) -> None:
        """
        A list of ports is put in order; what overlaps or adjoins becomes one range.
        """
        policy = parsePolicy("tcp/80,udp/27015-27030,tcp/22,tcp/81-90,udp/27020-27031")
        self.assertEqual(policy, Policy(tcp=((22, 22), (80, 90)), udp=((27015, 27031),)))
        self.assertEqual(str(policy), "tcp/22,tcp/80-90,udp/27015-27031")

    def test_refused(self) -> None:
        """
        What is no policy is refused in one line, however long and harmful it is.
        """
        for text in (
            *(
                "",
                "OPEN",
                "open,tcp/22",
                "closed",
                "tcp",
                "tcp/",
                "tcp/x",
                "/22",
                "22/tcp",
                "sctp/22",
                "tcp/22,",
            ),
            *(
                "tcp/0",
                "tcp/65536",
                "tcp/9-8",
                "tcp/1-",
                "tcp/-1",
                "tcp/1-2-3",
                "tcp/ 22",
                "tcp/+22",
                "tcp/2_2",
            ),
            *(
                "tcp/²",
                "tcp/٢",
                "tcp/99999999",
                "tcp/22; drop table",
                "tcp/22\n",
                "\x1b]52;x\x07\u202e",
                "x" * 99,
            ),
            ",".join(f"tcp/{2 * number + 1}" for number in range(MAXIMUM_RANGES + 1)),
            "tcp/1," * 100_000,
        ):
            error = self.assertRaises(DecodeError, parsePolicy, text)
            self.assertTrue(str(error).isprintable(), text)
            self.assertLess(len(str(error)), 200)

    @given(RANGES)
    def test_roundTrip(self, given: list[tuple[str, int, int]]) -> None:
        """
        The text of a policy is that policy, and lets in exactly the ports that were listed.
        """
        items = [(protocol, first, min(first + more, 65535)) for protocol, first, more in given]
        policy = parsePolicy(",".join(f"{protocol}/{first}-{last}" for protocol, first, last in items))
        self.assertEqual(parsePolicy(str(policy)), policy)
        for protocol in ("tcp", "udp"):
            listed = {
                port for each, first, last in items if each == protocol for port in range(first, last + 1)
            }
            ranges = policy.ranges(protocol)
            self.assertEqual({port for low, high in ranges for port in range(low, high + 1)}, listed)
            # With a gap between each and the next: nft takes no others.
            self.assertTrue(all(one[1] + 1 < two[0] for one, two in pairwise(ranges)))

    def test_union(self) -> None:
        """
        Of several policies the most permissive holds; of none, what always may.
        """
        ssh, web = parsePolicy("tcp/22"), parsePolicy("tcp/80,udp/1")
        self.assertEqual(str(union([ssh, PING_ONLY, web])), "tcp/22,tcp/80,udp/1")
        self.assertEqual(union([ssh, OPEN]), OPEN)
        self.assertEqual(union([]), PING_ONLY)

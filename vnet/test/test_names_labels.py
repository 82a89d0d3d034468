"""
Tests for L{vnet.client.names.labels}.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis.strategies import text
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.labels import LONGEST, RESERVED, labelOf

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class LabelTests(SynchronousTestCase):
    """
    Tests of L{labelOf}.
    """

    def test_plain(self) -> None:
        """
        Letters and digits stay, in lower case; all else is a hyphen between them.
        """
        for nick, label in (
            ("Bob", "bob"),
            ("Bob's  Laptop", "bob-s-laptop"),
            ("a.b.c", "a-b-c"),
            ("_service", "service"),
            ("-x-", "x"),
            ("x\N{RIGHT-TO-LEFT OVERRIDE}gnp\0", "x-gnp"),
            ("\N{LATIN SMALL LIGATURE FI}", "fi"),
            ("\N{KELVIN SIGN}", "k"),
            ("Bob \N{VIDEO GAME}", "bob"),
            ("a" * 64, "a" * LONGEST),
        ):
            self.assertEqual(labelOf(nick), label, nick)

    def test_beyondAscii(self) -> None:
        """
        Letters beyond ASCII become an A-label, as browsers make it; nobody gets one by writing it.
        """
        self.assertEqual(labelOf("München"), "xn--mnchen-3ya")
        self.assertEqual(labelOf("straße"), "xn--strae-oqa")
        self.assertEqual(labelOf("日本語"), "xn--wgv71a119e")
        self.assertEqual(labelOf("xn--mnchen-3ya"), "xn-mnchen-3ya")

    def test_homograph(self) -> None:
        """
        What only looks like another name has another label.
        """
        self.assertNotEqual(labelOf("p\N{CYRILLIC SMALL LETTER A}ypal"), labelOf("paypal"))

    def test_none(self) -> None:
        """
        Where nothing of a name can be kept, or programs would take it for something else, there is no label.
        """
        for nick in (
            "",
            "..",
            "_",
            "\N{VIDEO GAME}",
            "a\N{HEBREW LETTER ALEF}b",
            *RESERVED,
            "WPAD",
            " Localhost",
        ):
            self.assertIsNone(labelOf(nick), nick)

    @settings(max_examples=300, deadline=None)
    @given(text(max_size=80))
    def test_anything(self, nick: str) -> None:
        """
        Whatever the name, its label is one, with room for a number, or there is none.
        """
        label = labelOf(nick)
        if label is not None:
            self.assertTrue(LABEL.fullmatch(label))
            self.assertLessEqual(len(label), LONGEST)
            self.assertNotIn(label, RESERVED)
            self.assertTrue("--" not in label or label.startswith("xn--"))

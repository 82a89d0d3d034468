"""
Tests for L{vnet.protocols.codec.names}.
"""

from __future__ import annotations

import contextlib
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.names import displayable, validateName, validateNick

ANY_TEXT = st.text(st.characters(), max_size=200)  # surrogates and unassigned characters included


class ValidateTests(SynchronousTestCase):
    """
    L{validateName} and L{validateNick}.
    """

    def test_valid(self) -> None:
        """
        Ordinary names in any script pass unchanged.
        """
        for name in ["a", "home network", "日本語", "Ελληνικά", "שלום", "مرحبا", "ไทยที่นี่", "x" * 64, "🦊"]:
            self.assertEqual(validateName(name), unicodedata.normalize("NFC", name))
            self.assertEqual(validateNick(name), unicodedata.normalize("NFC", name))

    def test_normalised(self) -> None:
        """
        Two ways to write one character give one name, and the length counts after that.
        """
        self.assertEqual(validateName("cafe\u0301"), "caf\u00e9")
        self.assertEqual(validateName("e\u0301" * 64), "\u00e9" * 64)

    def test_refused(self) -> None:
        """
        What is empty, too long, padded, invisible, bidirectional, unassigned or a flood of marks is refused
        in one line.
        """
        bad = [
            "",
            "x" * 65,
            " a",
            "a ",
            "a\n",
            "a\tb",
            "a\0b",
            "\x1b[31m",
            "a\u200bb",
            "a\u202eb",
            "a\u2066b",
            "a\u00adb",
        ]
        bad += [
            "a\ufe0f",
            "\u3164",
            "\u2800",
            "a\u00a0b",
            "a\u2028b",
            "\ud800",
            "\u0378",
            "a" + "\u0335" * 4,
            "\u0301a",
            "a \u073d",
            "e\u0301" * 10**5,
        ]
        for name in bad:
            error = self.assertRaises(DecodeError, validateName, name)
            self.assertTrue(str(error).isprintable(), str(error))
            self.assertRaises(DecodeError, validateNick, name)

    @given(ANY_TEXT)
    def test_anything(self, text: str) -> None:
        """
        Any text is a name that is stable and printable, or a L{DecodeError}.
        """
        with contextlib.suppress(DecodeError):
            name = validateName(text)
            self.assertEqual(validateName(name), name)
            self.assertTrue(name.isprintable())
            self.assertTrue(1 <= len(name) <= 64)


class DisplayableTests(SynchronousTestCase):
    """
    L{displayable}.
    """

    def test_unchanged(self) -> None:
        """
        Valid names are shown as they are.
        """
        for name in ["home network", "日本語", "ไทยที่นี่", "x" * 64]:
            self.assertEqual(displayable(name), unicodedata.normalize("NFC", name))

    def test_hostile(self) -> None:
        """
        Escape sequences, direction marks, surrogates and floods of marks lose their power.
        """
        self.assertEqual(displayable("\x1b[31mred\r\n"), "\ufffd[31mred\ufffd\ufffd")
        self.assertEqual(displayable("a\u202eb\u200b\ud800"), "a\ufffdb\ufffd\ufffd")
        self.assertEqual(displayable("a\u00a0b"), "a b")
        self.assertEqual(displayable("x" + "\u0335" * 50 + "y"), "x" + "\u0335" * 3 + "y")
        self.assertEqual(displayable("\u0335x"), "\ufffdx")

    def test_cut(self) -> None:
        """
        Text that is too wide ends with an ellipsis, wide characters counting two cells.
        """
        self.assertEqual(displayable("abcdef", 4), "abc…")
        self.assertEqual(displayable("日本語", 5), "日本…")
        self.assertEqual(displayable("日本語", 6), "日本語")
        self.assertEqual(displayable("x" * 10**6, 3), "xx…")

    @given(ANY_TEXT, st.integers(1, 80))
    def test_anything(self, text: str, width: int) -> None:
        """
        Any text becomes printable UTF-8 within the width.
        """
        shown = displayable(text, width)
        self.assertTrue(shown.isprintable())
        shown.encode("utf-8")
        cells = sum(
            0 if unicodedata.category(c)[0] == "M" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
            for c in shown
        )
        self.assertTrue(cells <= width)

"""
Tests for L{vnet.protocols.codec.url}.
"""

from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.names import validateName
from vnet.protocols.codec.url import Invite, MediatorUrl, parseInvite, parseMediatorUrl

PIN = bytes(range(32))
PIN_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
SECRET = b"\xff" * 32
SECRET_TEXT = "_" * 42 + "8"


def validNames() -> st.SearchStrategy[str]:
    def isName(text: str) -> bool:
        try:
            return validateName(text) == text
        except DecodeError:
            return False

    return st.text(min_size=1, max_size=20).filter(isName)


class MediatorUrlTests(SynchronousTestCase):
    """
    L{parseMediatorUrl}.
    """

    def test_pinned(self) -> None:
        """
        A URL with a pin is read and written.
        """
        text = f"vnet://mediator.example:7443#sha256-{PIN_TEXT}"
        url = parseMediatorUrl(text)
        self.assertEqual(url, MediatorUrl("mediator.example", 7443, PIN))
        self.assertEqual(str(url), text)

    def test_forms(self) -> None:
        """
        Ports may be left out, hosts be addresses or international names; the canonical text is one.
        """
        for text, canonical in [
            ("  VNET://Mediator.Example./ \n", "vnet://mediator.example:7443"),
            ("vnet://192.0.2.1:443", "vnet://192.0.2.1:443"),
            ("vnet://[2001:DB8:0::1]", "vnet://[2001:db8::1]:7443"),
            ("vnet://[::ffff:192.0.2.1]:1", "vnet://192.0.2.1:1"),
            ("vnet://bücher.example", "vnet://xn--bcher-kva.example:7443"),
            ("vnet://my_host", "vnet://my_host:7443"),
        ]:
            self.assertEqual(str(parseMediatorUrl(text)), canonical)

    def test_refused(self) -> None:
        """
        What is no URL of a mediator is refused in one line.
        """
        for text in [
            "", "mediator.example", "http://a", "vnet://", "vnet://:7443", "vnet://a:", "vnet://a:0",
            "vnet://a:65536", "vnet://a:٣", "vnet://user@a", "vnet://a?x", "vnet://a/b", "vnet://a//",
            "vnet://2001:db8::1", "vnet://[2001:db8::1", "vnet://[fe80::1%eth0]", "vnet://[1.2.3.4]",
            "vnet://[::1]x", "vnet://1.2.3", "vnet://1.2.3.256", "vnet://a.7", "vnet://-a", "vnet://a..b",
            "vnet://a b", "vnet://" + "a." * 127 + "ab", "vnet://a#sha256-", "vnet://a#sha256-" + "A" * 42,
            "vnet://a#sha256-" + "A" * 42 + "B", "vnet://a#sha256-" + "A" * 44, "vnet://a#sha1-x",
            "vnet://a#x", f"vnet://a#secret={SECRET_TEXT}",
            f"vnet://a#sha256-{PIN_TEXT}&sha256-{PIN_TEXT}", "vnet://a#" + "A" * 3000,
        ]:  # fmt: skip
            error = self.assertRaises(DecodeError, parseMediatorUrl, text)
            self.assertTrue(str(error).isprintable(), str(error))


class InviteTests(SynchronousTestCase):
    """
    L{parseInvite}.
    """

    def test_whole(self) -> None:
        """
        An invitation with pin and secret is read and written.
        """
        text = f"vnet://mediator.example:7443/our%20home#sha256-{PIN_TEXT}&secret={SECRET_TEXT}"
        invite = parseInvite(text)
        self.assertEqual(invite, Invite(MediatorUrl("mediator.example", 7443, PIN), "our home", SECRET))
        self.assertEqual(str(invite), text)

    def test_parts(self) -> None:
        """
        Pin and secret may each be missing.
        """
        self.assertEqual(parseInvite("vnet://a/n"), Invite(MediatorUrl("a"), "n"))
        self.assertEqual(parseInvite(f"vnet://a/n#secret={SECRET_TEXT}").secret, SECRET)
        self.assertEqual(parseInvite(f"vnet://a/n#sha256-{PIN_TEXT}").mediator.pin, PIN)

    def test_secretIsNotShown(self) -> None:
        """
        Neither C{repr} nor an error holds the secret.
        """
        self.assertNotIn("xff", repr(parseInvite(f"vnet://a/n#secret={SECRET_TEXT}")))
        error = self.assertRaises(DecodeError, parseInvite, f"vnet://a/n#secret={SECRET_TEXT[:-2]}")
        self.assertNotIn("___", str(error))

    def test_refused(self) -> None:
        """
        What is no invitation is refused in one line.
        """
        for text in [
            "vnet://a",
            "vnet://a/",
            "vnet://a/%FF",
            "vnet://a/b/c",
            "vnet://a/%0A",
            "vnet://a/" + "x" * 65,
        ]:
            error = self.assertRaises(DecodeError, parseInvite, text)
            self.assertTrue(str(error).isprintable(), str(error))

    @given(
        validNames(),
        st.none() | st.binary(min_size=32, max_size=32),
        st.none() | st.binary(min_size=32, max_size=32),
    )
    @example("a/b#c?d%41&e=f", PIN, SECRET)
    def test_roundTrip(self, name: str, pin: bytes | None, secret: bytes | None) -> None:
        """
        Whatever the network is called, its invitation reads as it was written.
        """
        invite = Invite(MediatorUrl("::1", 1, pin), name, secret)
        self.assertEqual(parseInvite(str(invite)), invite)

    @given(
        st.text(st.characters(), max_size=80),
        st.sampled_from(["", "vnet://", "vnet://a/", "vnet://a#", "vnet://a/b#secret="]),
    )
    def test_anything(self, text: str, start: str) -> None:
        """
        Any text is a link or a L{DecodeError}.
        """
        for parse in (parseInvite, parseMediatorUrl):
            with contextlib.suppress(DecodeError):
                self.assertEqual(parse(str(parse(start + text))), parse(start + text))

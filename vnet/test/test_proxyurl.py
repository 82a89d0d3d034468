"""
Tests for L{vnet.protocols.codec.proxyurl}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.httpauth import ProxyLogin
from vnet.protocols.codec.proxyurl import Proxy, parseProxy


class ProxyUrlTests(SynchronousTestCase):
    """
    L{parseProxy}.
    """

    def test_read(self) -> None:
        """
        All forms of the URL are read.
        """
        ann = ProxyLogin("ann", "s3cret")
        for text, proxy in (
            ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
            (" HTTP://Proxy.Example:3128/ ", Proxy("http", "proxy.example", 3128)),
            ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
            ("proxy", Proxy("http", "proxy", 80)),
            ("https://192.0.2.1", Proxy("https", "192.0.2.1", 443)),
            ("socks5://[2001:DB8::1]", Proxy("socks5", "2001:db8::1", 1080)),
            ("socks5h://[2001:db8::1]:1081", Proxy("socks5", "2001:db8::1", 1081)),
            ("http://ann:s3cret@p:1", Proxy("http", "p", 1, ann)),
            ("ann:s3cret@p:1", Proxy("http", "p", 1, ann)),
            ("socks5://ann@p", Proxy("socks5", "p", 1080, ProxyLogin("ann", ""))),
            ("http://a%40b:%3A%2f%C3%A4@p:1", Proxy("http", "p", 1, ProxyLogin("a@b", ":/\u00e4"))),
            ("http://ann:a@b/c:d?#@p:1", Proxy("http", "p", 1, ProxyLogin("ann", "a@b/c:d?#"))),
            ("socks5://a%3Ab:c@p", Proxy("socks5", "p", 1080, ProxyLogin("a:b", "c"))),
        ):
            self.assertEqual(parseProxy(text), proxy, text)

    def test_shown(self) -> None:
        """
        Neither name nor password is in what is shown.
        """
        proxy = parseProxy("socks5://ann:s3cret@[2001:db8::1]")
        self.assertEqual(str(proxy), "socks5://[2001:db8::1]:1080")
        for text in (repr(proxy), str(proxy), repr([proxy])):
            self.assertNotIn("ann", text)
            self.assertNotIn("s3cret", text)

    def test_refused(self) -> None:
        """
        What is none is refused in one line that does not quote it.
        """
        for text in (
            "",
            "http://",
            "socks4://sEcret@p",
            "sEcret://p",
            "http://n:sEcret@p:port",
            "http://n:sEcret@p:0",
            "http://n:sEcret@p:65536",
            "http://n:sEcret@a b",
            "http://n:sEcret@p:1/path",
            "http://n:sEcret@p:1?x",
            "http://n:sEcret@[::1",
            "http://n:sEcret@::1",
            "http://n:sEcret@",
            "http://:sEcret@p",
            "http://n%3A:sEcret@p",
            "http://n:sEcret%0d%0a@p",
            "http://n:sEcret%ff@p",
            "http://n:" + "sEcret" * 50 + "@p",
            "http://" + "sEcret" * 500,
        ):
            error = self.assertRaises(DecodeError, parseProxy, text)
            self.assertNotIn("sEcret", str(error))
            self.assertTrue(str(error).isprintable())

    def test_password(self) -> None:
        """
        A password may be added where there is a name without one.
        """
        proxy = parseProxy("http://ann@p:1").withPassword("s3cret")
        self.assertEqual(proxy.login, ProxyLogin("ann", "s3cret"))
        for text, password in (
            ("http://p:1", "x"),
            ("http://ann:x@p:1", "y"),
            ("http://ann@p:1", "x\n"),
            ("http://ann@p:1", "x" * 256),
        ):
            self.assertRaises(DecodeError, parseProxy(text).withPassword, password)

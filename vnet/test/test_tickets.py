"""
Tests for L{vnet.server.tickets}.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from twisted.trial.unittest import SynchronousTestCase

from vnet.server.tickets import LIFETIME, Tickets


class TicketsTests(SynchronousTestCase):
    """
    L{Tickets}.
    """

    def test_credential(self) -> None:
        """The username is the expiry and a user, the credential its HMAC-SHA1 in base64: what coturn expects."""
        (ticket,) = Tickets(["turn:r:3478"], b"secret", lambda: 1000.9).issue(b"k" * 32)
        expiry, _, user = ticket["username"].partition(":")
        self.assertEqual(LIFETIME + 3600, int(expiry))
        digest = hmac.new(b"secret", ticket["username"].encode(), hashlib.sha1).digest()
        self.assertEqual(base64.b64encode(digest).decode(), ticket["credential"])
        self.assertNotIn((b"k" * 32).hex()[:16], user)

    def test_rounded(self) -> None:
        """Credentials are good for a day at least, and the same for an hour: relays know who logs in again."""
        now = [0.0]
        tickets = Tickets(["turn:a"], b"secret", lambda: now[0])
        for now[0], hours in ((1.0, 1), (1800.0, 1), (3600.0, 1), (3601.0, 2)):
            expiry = tickets.issue(b"k")[0]["username"].partition(":")[0]
            self.assertEqual(LIFETIME + 3600 * hours, int(expiry))

    def test_service(self) -> None:
        """The class of service is in the name of the user, and a node is the same user of its class at each login."""
        low = Tickets(["turn:a"], b"secret", lambda: 1000.0, "low").issue(b"k" * 32)
        high = Tickets(["turn:a"], b"secret", lambda: 2000.0).issue(b"k" * 32)
        names = [ticket["username"].partition(":")[2].split("-") for ticket in low + high]
        self.assertEqual(["low", "high"], [service for service, _ in names])
        self.assertEqual(names[0][1], names[1][1])

    def test_users(self) -> None:
        """Each node is another user, the same at each login, for each relay."""
        tickets = Tickets(["turn:a", "turn:b"], b"secret", lambda: 1000.0)
        one, two = tickets.issue(b"1" * 32), tickets.issue(b"2" * 32)
        self.assertEqual(["turn:a", "turn:b"], [each["uri"] for each in one])
        self.assertEqual(one, tickets.issue(b"1" * 32))
        self.assertNotEqual(one[0]["username"], two[0]["username"])

    def test_secretNotShown(self) -> None:
        """The secret is not in the representation."""
        self.assertNotIn("secret", repr(Tickets([], b"secretsecret", lambda: 0.0)).replace("_secret", ""))

"""
Bad input to C{vnet}: one clear line each, and nothing lost or changed.
"""

from __future__ import annotations

import pytest

from vnet.protocols.codec.url import parseInvite
from vnet.test.priv.cluster import Node
from vnet.test.priv.daemons import environment
from vnet.test.priv.household import HouseholdCase
from vnet.test.priv.unharmed import othersReach, refused, unharmed

MODIFIED_CLIENT = """
from vnet.test.priv.rawnode import RawNode, Refusal

def refused(call, *arguments, **named):
    try:
        print("accepted", call(*arguments, **named))
    except Refusal as error:
        print(*error.args)

good = RawNode(7443)
good.login()
for name in ("\\x1b[2J", "\\u202egnp.exe", "a\\u200bb", "z" + 9 * "\\u0301", "x" * 300, ""):
    bad = RawNode(7443)
    refused(bad.login, nick=name)
    bad.close()
    refused(good.call, "SetNick", nick=name.encode())
    refused(good.call, "CreateNetwork", name=name.encode(), proof=b"")
good.close()
"""


@pytest.mark.timeout(120)
class CommandTests(HouseholdCase):
    """
    Arguments, names and passwords.
    """

    def test_usage(self) -> None:
        """
        Unknown verbs and options, and missing arguments, have exit code 2.
        """
        for arguments in (
            ["frob"],
            ["status", "--frob"],
            ["--frob"],
            ["join"],
            ["login"],
            ["join", "x", "--no-password", "--password-file", "y"],
            ["create", "x"],
            ["ping", "-c", "0", "x"],
        ):
            with unharmed(self.alice):
                refused(self.alice, 2, *arguments)

    def test_names(self) -> None:
        """
        Names of networks and nicknames that are too long, empty, invisible or turn the text around are refused.
        """
        for name in (
            "",
            " ",
            "x" * 65,
            "a\nb",
            "a\x1b[31m",
            "a\u202eb",
            "a\u200bb",
            "a" + 6 * "\u0301",
            " a",
        ):
            with unharmed(self.alice):
                for command in (["create", "--no-password"], ["join", "--no-password"], ["set-nick"]):
                    refused(self.alice, 1, *command, "--", name)

    def test_modifiedClient(self) -> None:
        """
        A modified client gets no hostile name past the mediator: not as a nickname, not as a network's name.
        """
        with unharmed(self.alice), unharmed(self.bob):
            out = self.mediator.host.python(MODIFIED_CLIENT)
        answers = out.splitlines()
        self.assertEqual(len(answers), 3 * 6, out)
        for answer in answers:
            self.assertRegex(answer, "^(LOGIN|DENIED) (the nickname|the network's name) ", out)

    def test_wrongPassword(self) -> None:
        """
        A wrong password, a missing one and a network that does not exist have the same answer.
        """
        wrong = self.cluster.lab.directory / "wrong"
        wrong.write_text("battery staple\n")
        file = f"--password-file={wrong}"
        with unharmed(self.alice), unharmed(self.bob):
            lines = {
                refused(self.bob, 1, "join", file, "family"),
                refused(self.bob, 1, "join", file, "no such network"),
                refused(self.bob, 1, "join", "--no-password", "family"),
                refused(self.bob, 1, "join", file, "FAMILY"),
            }
        self.assertEqual(lines, {"there is no such network, or the password is wrong"})

    def test_taken(self) -> None:
        """
        A name that is taken, also in other letters, is refused to a founder.
        """
        with unharmed(self.bob):
            for name in ("family", "Family"):
                self.assertIn("exists already", refused(self.bob, 1, "create", "--no-password", name))

    def test_notMember(self) -> None:
        """
        What needs a membership or a peer is refused without.
        """
        with unharmed(self.alice):
            for verb in ("leave", "invite", "go-online", "go-offline"):
                self.assertIn("no network named", refused(self.alice, 1, verb, "elsewhere"))
            for verb in ("peer", "ping"):
                self.assertIn("no peer", refused(self.alice, 1, verb, "nobody"))

    def test_guesses(self) -> None:
        """
        After ten wrong passwords within a minute the next is not looked at, right or wrong, and the answer says when to try
        again; others are not hindered.
        """
        carol = self.cluster.addNode("carol")
        carol.login()
        for _ in range(10):
            with self.assertRaises(Exception) as caught:
                carol.ask("join", network="family", password="guess")
            self.assertIn("no such network", str(caught.exception))
        right = self.cluster.lab.directory / "right"
        right.write_text("correct horse\n")
        with unharmed(carol):
            self.assertIn("minute", refused(carol, 1, "join", f"--password-file={right}", "family"))
        self.bob.text("join", f"--password-file={right}", "family")

    def test_passwordFile(self) -> None:
        """
        A password file that is missing, empty, unreadable, not text or too long is refused.
        """
        directory = self.cluster.lab.directory
        cases = {
            "missing": (None, "No such file"),
            "empty": (b"", "empty"),
            "line": (b"\nsecond", "empty"),
            "binary": (b"\xff\xfe", "not UTF-8"),
            "long": (b"x" * 2000, "longer than"),
        }
        with unharmed(self.alice):
            for name, (content, why) in cases.items():
                path = directory / f"password-{name}"
                if content is not None:
                    path.write_bytes(content)
                self.assertIn(why, refused(self.alice, 1, "create", f"--password-file={path}", "n"))
            self.assertIn("directory", refused(self.alice, 1, "create", f"--password-file={directory}", "n"))

    def test_unreadable(self) -> None:
        """
        A user who may not read the password file, or not use the control socket, is told so.
        """
        if not othersReach():
            return
        path = self.cluster.lab.directory / "forbidden"
        path.touch(0o600)
        for arguments in (["create", f"--password-file={path}", "n"], ["status"]):
            done = self.alice.host.run(
                [
                    "setpriv",
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    *self.alice._argv(tuple(arguments)),
                ],
                check=False,
                env=environment(self.alice.state),
            )
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertRegex(done.stderr, "(?i)permi")

    def test_links(self) -> None:
        """
        An invitation that is damaged anywhere is refused.
        """
        link = self.alice.invite("family")
        invite = parseInvite(link)
        head, _, fragment = link.partition("#")
        pin, _, secret = fragment.partition("&")
        host = invite.mediator.host
        cases = [
            (1, "vnit" + link[4:]),
            (3, link.replace(host, "nowhere.invalid")),
            (3, link.replace(":7443", ":7449")),
            (1, link.replace(":7443", ":74x3")),
            (1, link.replace("/family", "/famil")),
            (1, link.replace("/family", "/%ff")),
            (1, link.replace("/family", "/a%1bb")),
            (1, link.replace("/family", "")),
            (1, f"{head}#{_changed(pin)}&{secret}"),
            (1, f"{head}#{pin[:-1]}&{secret}"),
            (1, f"{head}#{pin}&{_changed(secret)}"),
            (1, f"{head}#{pin}&{secret[:-1]}"),
            (1, f"{head}#{pin}"),
            (1, f"{head}#{secret}"),
            (1, link + "x"),
            (1, head),
        ]
        for code, damaged in cases:
            self.assertNotEqual(damaged, link)
            with unharmed(self.bob):
                line = refused(self.bob, code, "join", damaged) if damaged[:4] == "vnet" else ""
            self.assertNotIn(secret[-20:], line)

    def test_noDaemon(self) -> None:
        """
        Without a running client each verb has exit code 3, and says how to start it.
        """
        node = Node("ghost", self.alice.host, self.cluster.lab.directory / "ghost", "vnet-client")
        node.state.mkdir()
        for arguments in (["status"], ["login", self.mediator.url], ["list"], ["join", "--no-password", "x"]):
            self.assertIn("not running", refused(node, 3, *arguments))

    def test_notLoggedIn(self) -> None:
        """
        Before the first login, what needs the mediator has exit code 3 and says what to do.
        """
        node = self.cluster.addNode("dave")
        for arguments in (["create", "--no-password", "x"], ["join", "--no-password", "x"]):
            self.assertIn("vnet login", refused(node, 3, *arguments))
        node.stop()


def _changed(text: str) -> str:
    """
    Other text with another character near its end.
    """
    return text[:-3] + ("A" if text[-3] != "A" else "B") + text[-2:]

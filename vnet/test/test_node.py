"""
Whole nodes, with a mediator, in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.client import warmth
from vnet.errors import Refused, Unreachable
from vnet.interfaces import INode
from vnet.test.nodelab import URL, Overlay, TestNode


class NodeTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.node.Node}.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)

    def pair(self) -> tuple[TestNode, TestNode]:
        """
        Two nodes in one network, with a tunnel between them.
        """
        ann, bea = self.overlay.add("ann", "203.0.113.1"), self.overlay.add("bea", "203.0.113.2")
        ann.do(ann.node.login(URL))
        ann.do(ann.node.create("home", "secret"))
        link = ann.do(ann.node.invite("home"))["link"]
        bea.do(bea.node.joinInvite(link))
        self.overlay.advance(2)
        return ann, bea

    def test_interface(self) -> None:
        """
        A node is what the front ends ask for.
        """
        self.assertTrue(verifyObject(INode, self.overlay.add("ann", "203.0.113.1").node))

    def test_tunnel(self) -> None:
        """
        Two members of a network see each other, direct, and their operating systems reach each other.
        """
        ann, bea = self.pair()
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertEqual(bea.members(), {"home/ann": ("online", "direct")})
        self.assertTrue(ann.reaches(bea) and bea.reaches(ann))

    def test_goneMeanwhile(self) -> None:
        """
        A network of which the node is no member any more when the mediator is back is forgotten, with its secret; one that it
        is in again by then is not.
        """
        for rejoins in (False, True):
            self.overlay = Overlay(self.mktemp)
            self.addCleanup(self.overlay.stopAll)
            _, bea = self.pair()
            self.overlay.cut.add("203.0.113.2")
            self.overlay.dropControl("203.0.113.2")
            twin = self.overlay.add("bea", "203.0.113.3")
            twin.do(twin.node.login(URL))
            self.overlay.advance(1)
            twin.do(twin.node.leave("home"))
            if rejoins:
                twin.do(twin.node.join("home", "secret"))
            self.assertEqual([each.name for each in bea.state.remembered.networks.values()], ["home"])
            self.overlay.kill(twin)
            self.overlay.cut.discard("203.0.113.2")
            self.overlay.advance(60)
            self.assertTrue(bea.core.logins.online, bea.core.logins.error)
            self.assertEqual(len(bea.state.remembered.networks), rejoins)
            self.assertEqual(bea.members(), {"home/ann": ("online", "direct")} if rejoins else {})

    def test_onDemand(self) -> None:
        """
        To a peer to whom no path is kept ready there is no tunnel; the first packet to it makes one, and comes to its end.
        The path goes when it was not used for five minutes, on both sides, and the peer is online all the same.
        """
        self.patch(warmth, "CAPACITY", 0)
        ann, bea = self.pair()
        self.overlay.advance(10)
        for sender, receiver in ((ann, bea), (bea, ann)):
            self.assertEqual([list(node.core.tunnels.opened) for node in (ann, bea)], [[], []])
            self.assertEqual(ann.members(), {"home/bea": ("online", "none")})
            self.assertIn("the first packet to it makes one", ann.do(ann.node.peer("bea"))["why"])
            for sequence in range(3):
                sender.sendEcho(receiver, sequence)
            self.overlay.advance(2)
            self.assertEqual([each.sequence for each in sender.received], [0, 1, 2])
            self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
            self.assertEqual(bea.members(), {"home/ann": ("online", "direct")})
            self.overlay.advance(250, step=0.2)
            self.assertEqual(bea.members(), {"home/ann": ("online", "direct")})
            self.overlay.advance(150, step=0.2)

    def test_givenUpByOne(self) -> None:
        """
        A packet comes to its end also when one side has given the path up, and the other does not know it yet.
        """
        self.patch(warmth, "CAPACITY", 0)
        ann, bea = self.pair()
        ann.sendEcho(bea, 0)
        for _ in range(400):
            self.overlay.advance(1)
            if not ann.core.tunnels.opened:
                break
        self.assertTrue(bea.core.tunnels.opened)
        bea.sendEcho(ann, 1)
        self.overlay.advance(4)
        self.assertEqual([each.sequence for each in bea.received], [1])

    def test_pingOnDemand(self) -> None:
        """
        Whoever pings such a peer waits until there is a path.
        """
        self.patch(warmth, "CAPACITY", 0)
        ann, bea = self.pair()
        self.assertGreater(ann.do(ann.node.ping("bea"))["latencyMs"], 0)
        bea.do(bea.node.logout())
        self.overlay.advance(1)
        self.assertRaises(Refused, ann.do, ann.node.ping("bea"))

    def test_list(self) -> None:
        """
        A list can be of one network, of members that are searched, of those in one state, and of one page; it says how many
        there are, whatever is shown.
        """
        ann, bea = self.pair()
        others = [self.overlay.add(f"cal{number}", f"203.0.113.{10 + number}") for number in range(3)]
        link = ann.do(ann.node.invite("home"))["link"]
        for node in others:
            node.do(node.node.joinInvite(link))
        ann.do(ann.node.create("work", None))
        others[1].do(others[1].node.logout())
        self.overlay.advance(2)

        def listed(*selection: object) -> list[list[str]]:
            networks = ann.do(ann.node.networks(*selection))["networks"]
            counts = [
                (each["memberCount"], each["onlineCount"]) for each in networks if each["name"] == "home"
            ]
            self.assertIn(counts, ([(4, 3)], []))
            return [[member["nick"] for member in each["members"]] for each in networks]

        everybody = ["bea", "cal0", "cal1", "cal2"]
        home = listed("home")
        self.assertEqual([sorted(each) for each in home], [everybody])
        self.assertEqual(listed("work"), [[]])
        self.assertEqual([sorted(each) for each in listed()], [everybody, []])
        self.assertEqual([sorted(each) for each in listed("home", "CAL")], [everybody[1:]])
        self.assertEqual(listed("home", bea.address), [["bea"]])
        self.assertEqual(listed("home", bea.core.parts.identity.clientId[:20]), [["bea"]])
        self.assertEqual(listed("home", None, "offline"), [["cal1"]])
        self.assertEqual(listed("home", "cal", "lost"), [[]])
        pages = [listed("home", None, None, page, 3) for page in (1, 2, 3)]
        self.assertEqual(pages, [[home[0][:3]], [home[0][3:]], [[]]])
        self.assertRaises(Refused, ann.do, ann.node.networks("away"))
        self.assertRaises(Refused, ann.do, ann.node.networks("home", None, "asleep"))
        network = bea.do(bea.node.networks("home", None, None, None, 1))["networks"][0]
        self.assertEqual(
            (network["ownerNick"], network["foundCount"], len(network["members"])), ("ann", 4, 1)
        )

    def test_wrongPassword(self) -> None:
        """
        With a wrong password nobody joins, and nothing is remembered of the attempt.
        """
        ann = self.overlay.add("ann", "203.0.113.1")
        bea = self.overlay.add("bea", "203.0.113.2")
        ann.do(ann.node.login(URL))
        bea.do(bea.node.login(URL))
        ann.do(ann.node.create("home", "secret"))
        self.assertRaises(Refused, bea.do, bea.node.join("home", "wrong"))
        self.assertEqual(bea.state.remembered.networks, {})
        self.assertEqual(ann.members(), {})

    def test_answerLost(self) -> None:
        """
        A node that joins, and dies before it hears the answer, is a member with all that belongs to it when it is back.
        """
        ann, bea = self.overlay.add("ann", "203.0.113.1"), self.overlay.add("bea", "203.0.113.2")
        ann.do(ann.node.login(URL))
        bea.do(bea.node.login(URL))
        ann.do(ann.node.create("home", "secret"))
        joining = bea.node.join("home", "secret")
        joining.addErrback(lambda _: None)
        self.overlay.kill(bea)
        again = self.overlay.add("bea", "203.0.113.3", bea.state)
        self.overlay.advance(5)
        if ann.members():
            self.assertEqual(again.members(), {"home/ann": ("online", "direct")})
        self.assertEqual(again.state.remembered.entering, {})

    def test_notLoggedIn(self) -> None:
        """
        What needs the mediator says how to get one.
        """
        ann = self.overlay.add("ann", "203.0.113.1")
        error = self.assertRaises(Unreachable, ann.do, ann.node.create("home", "secret"))
        self.assertIn("vnet login", str(error))

    def test_badNames(self) -> None:
        """
        Bad names, URLs and links are refused before anything is asked.
        """
        ann = self.overlay.add("ann", "203.0.113.1")
        ann.do(ann.node.login(URL))
        for name in ("", "x" * 65, "a\nb", "a\u202eb"):
            self.assertRaises(Refused, ann.do, ann.node.create(name, "secret"))
        self.assertRaises(Refused, ann.do, ann.node.login("http://example.com"))
        self.assertRaises(Refused, ann.do, ann.node.joinInvite(URL))
        self.assertRaises(Refused, ann.do, ann.node.setNick("\x1b[2J"))
        self.assertRaises(Refused, ann.do, ann.node.peer("nobody"))
        self.assertRaises(Refused, ann.do, ann.node.leave("nothing"))

    def test_logout(self) -> None:
        """
        Who logs out is offline for the others at once, and its tunnel is gone.
        """
        ann, bea = self.pair()
        bea.do(bea.node.logout())
        self.overlay.advance(0.2)
        self.assertEqual(ann.members(), {"home/bea": ("offline", "none")})
        self.assertEqual(bea.do(bea.node.status())["state"], "offline")

    def test_loggedOut(self) -> None:
        """
        Who is logged out sees its networks all the same, offline and without members, and is told why nobody is there.
        """
        _, bea = self.pair()
        bea.do(bea.node.logout())
        (only,) = bea.do(bea.node.networks())["networks"]
        none: dict[str, object] = {
            "memberCount": 0,
            "onlineCount": 0,
            "foundCount": 0,
            "ownerNick": None,
            "ownLans": [],
        }
        self.assertEqual(
            only,
            {"name": "home", "state": "offline", "owner": None, "protected": True, "members": [], **none},
        )
        error = self.assertRaises(Unreachable, bea.do, bea.node.peer("ann"))
        self.assertIn("not logged in", str(error))
        for verb in (bea.node.invite, bea.node.leave, bea.node.goOffline):
            self.assertIn("not connected", str(self.assertRaises(Unreachable, bea.do, verb("home"))))
            self.assertRaises(Refused, bea.do, verb("another"))
        bea.do(bea.node.login(URL))
        self.overlay.advance(2)
        self.assertEqual(bea.members(), {"home/ann": ("online", "direct")})

    def test_linkCut(self) -> None:
        """
        Who joins with a link that lost its secret is told how that happens.
        """
        ann, bea = self.pair()
        link = ann.do(ann.node.invite("home"))["link"].partition("&")[0]
        error = self.assertRaises(Refused, bea.do, bea.node.joinInvite(link))
        self.assertIn("the shell cuts it at '&'", str(error))

    def test_leave(self) -> None:
        """
        Who leaves a network vanishes from it, and the others' tunnels to it end.
        """
        ann, bea = self.pair()
        bea.do(bea.node.leave("home"))
        self.overlay.advance(0.2)
        self.assertEqual((ann.members(), bea.members()), ({}, {}))
        self.assertEqual(bea.state.remembered.networks, {})

    def test_mediatorDies(self) -> None:
        """
        When the mediator dies the tunnel stays and is checked; when it is back nothing has to be done.
        """
        ann, bea = self.pair()
        self.overlay.mediatorUp = False
        self.overlay.dropControl()
        self.overlay.advance(300)
        self.assertEqual(ann.do(ann.node.status())["state"], "connecting")
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertTrue(ann.reaches(bea))
        self.overlay.mediatorUp = True
        self.overlay.advance(60)
        self.assertEqual(ann.do(ann.node.status())["state"], "online")
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertTrue(bea.reaches(ann))

    def test_mediatorForgets(self) -> None:
        """
        After a restart of the mediator, which begins a new epoch, all is in step again, and the tunnel was never torn down.
        """
        ann, bea = self.pair()
        handshake = ann.do(ann.node.peer(bea.address))["rxBytes"]
        self.overlay.dropControl()
        self.overlay.lab.start()
        self.overlay.advance(60)
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertGreaterEqual(ann.do(ann.node.peer(bea.address))["rxBytes"], handshake)
        self.assertTrue(ann.reaches(bea))

    def test_lostAlive(self) -> None:
        """
        A member whose control connection is cut is lost for the others; its tunnel goes on.
        """
        ann, bea = self.pair()
        self.overlay.cut.add("203.0.113.2")
        self.overlay.dropControl("203.0.113.2")
        self.overlay.advance(120)
        self.assertEqual(ann.members(), {"home/bea": ("lost", "direct")})
        self.assertTrue(ann.reaches(bea) and bea.reaches(ann))

    def test_killed(self) -> None:
        """
        A member that is killed is lost for the others at once, and offline as soon as its tunnel did not answer.
        """
        ann, bea = self.pair()
        self.overlay.kill(bea)
        self.overlay.advance(0.5)
        self.assertEqual(ann.members()["home/bea"][0], "lost")
        self.overlay.advance(10)
        self.assertEqual(ann.members(), {"home/bea": ("offline", "none")})

    def test_returns(self) -> None:
        """
        A node that was killed and starts again has the same address and networks, and its tunnels, without a command.
        """
        ann, bea = self.pair()
        address = bea.address
        self.overlay.kill(bea)
        self.overlay.advance(3)
        again = self.overlay.add("bea", "203.0.113.3", bea.state)
        self.overlay.advance(10)
        self.assertEqual(again.address, address)
        self.assertEqual(again.members(), {"home/ann": ("online", "direct")})
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertTrue(ann.reaches(again))

    def test_pathDies(self) -> None:
        """
        When a path dies while both are online, another is found as soon as there is one.
        """
        ann, bea = self.pair()
        self.overlay.internet.passes = lambda source, target: "198.51.100.1" in (source.host, target.host)
        self.overlay.advance(90)
        self.assertEqual(ann.members()["home/bea"][1], "none")
        self.assertTrue(ann.do(ann.node.peer(bea.address))["why"])
        self.overlay.internet.passes = lambda source, target: True
        self.overlay.advance(75)
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.assertTrue(ann.reaches(bea))

    def test_goOffline(self) -> None:
        """
        A node that goes offline in a network remains its member, and can come back.
        """
        ann, bea = self.pair()
        bea.do(bea.node.goOffline("home"))
        self.overlay.advance(0.5)
        self.assertEqual(ann.members(), {"home/bea": ("offline", "none")})
        self.assertEqual(bea.members(), {"home/ann": ("offline", "none")})
        bea.do(bea.node.goOnline("home"))
        self.overlay.advance(5)
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})

    def test_replaced(self) -> None:
        """
        When a copy of a node logs in, the first stops, says why, and does not fight.
        """
        ann, _ = self.pair()
        copy = self.overlay.add("ann", "203.0.113.9")
        copy.do(copy.node.login(URL))
        self.overlay.advance(60)
        status = ann.do(ann.node.status())
        self.assertEqual(status["state"], "offline")
        self.assertIn("another computer", status["error"])
        self.assertEqual(copy.do(copy.node.status())["state"], "online")

    def test_thirdIsNoPeer(self) -> None:
        """
        A node that shares no network with another neither sees nor reaches it.
        """
        ann, _ = self.pair()
        eve = self.overlay.add("eve", "203.0.113.8")
        eve.do(eve.node.login(URL))
        eve.do(eve.node.create("lair", "secret"))
        self.overlay.advance(2)
        self.assertEqual(eve.members(), {})
        self.assertNotIn("home/eve", ann.members())
        self.assertFalse(eve.reaches(ann))

    def test_loss(self) -> None:
        """
        With every tenth datagram lost the tunnel still comes up.
        """
        self.overlay.internet.loss = 0.1
        ann, bea = self.pair()
        self.overlay.advance(15)
        self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
        self.overlay.internet.loss = 0.0
        self.assertTrue(ann.reaches(bea))

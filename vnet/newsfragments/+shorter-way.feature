A packet that is alone takes a shorter way: a round trip over an idle tunnel takes a fifth less, and a full tunnel holds up others less.

A host that answers no check gets 20 of an attempt at most, whatever ports of it a member names.

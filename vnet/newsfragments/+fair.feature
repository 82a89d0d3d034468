A peer that sends more than a node can read has a queue of its own, so that nobody else waits behind it.

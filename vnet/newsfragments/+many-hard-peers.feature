A node behind a hard NAT gets through to many peers at once: they take turns at its ports and its spare sockets, and none of them, however hostile, can take all.

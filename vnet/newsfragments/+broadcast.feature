Broadcast and multicast, IPv4 and IPv6, reach each member that has a path once, with bounds for sender and receiver: games, printers and shares find each other.

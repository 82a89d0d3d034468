Idle paths are kept alive through NATs that forget a mapping after 15 seconds; where it is proven that a NAT remembers for longer, they cost fewer packets.

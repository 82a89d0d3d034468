IPX, AppleTalk and NetBEUI cross the tunnel as EtherIP (RFC 3378), unicast and broadcast, in all four kinds of frames; `--ether-types` chooses which protocols pass.

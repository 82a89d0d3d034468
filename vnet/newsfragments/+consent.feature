Packets of the tunnel go only to an address that has answered a check of the path, so that no member can aim a node's traffic at somebody else, or at the tunnel itself.

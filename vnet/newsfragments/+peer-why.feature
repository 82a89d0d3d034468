`vnet peer` shows both NATs, what was tried and heard, why there is no direct path, and what would help on either side; also when the peer's own firewall drops what comes through the tunnel.

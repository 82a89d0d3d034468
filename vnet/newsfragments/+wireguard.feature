Peers talk through WireGuard tunnels, byte for byte: any WireGuard program can be the other end, with or without a preshared key, over IPv4 and IPv6.

A STUN server (RFC 8489 Binding over IPv4 and IPv6, with a rate limit for each source) and a client that keeps NAT mappings known and alive, both usable alone.

Peers are reached through TURN relays at once, over UDP, TCP or TLS, until a direct path takes over, and again when it breaks; no packet is lost on the way from one to the other.

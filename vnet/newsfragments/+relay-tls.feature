Relays are recognised over TLS 1.2 and 1.3 by the pin in their URI or by their name, and offered the ALPN name "stun.turn".

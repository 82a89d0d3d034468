Mediators and relays serve STUN on a second port (3479), and all of RFC 5780 where their host has two public addresses or ``--stun`` names two: nodes and other clients can tell what their NATs do.

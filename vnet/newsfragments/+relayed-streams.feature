Relays over TCP and TLS need less CPU: trains stay whole from one connection to the next, and TLS is opened and sealed with fewer copies.

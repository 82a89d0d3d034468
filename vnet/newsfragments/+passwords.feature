A network may have a password, of which the mediator stores a verifier only; it gives the tunnels between members a preshared key, so that the mediator cannot get between them.

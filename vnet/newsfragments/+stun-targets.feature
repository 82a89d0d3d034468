A mediator cannot have a node send STUN requests to groups, to services of its own computer, or into the overlay.

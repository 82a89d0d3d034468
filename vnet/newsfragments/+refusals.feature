What cannot be done is told in one line, and leaves the session, the networks and the tunnels as they are: a login elsewhere takes the place of the session only when it has succeeded.

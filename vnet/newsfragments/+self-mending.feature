Restarts of mediator and nodes, new addresses and lost links mend themselves: tunnels come back without a command.

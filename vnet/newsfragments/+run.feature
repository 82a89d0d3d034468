`make run` runs a mediator and this computer's node, and shows the line with which another computer joins and the members that are online.

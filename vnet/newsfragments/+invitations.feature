An invitation is one link: `vnet invite` prints it, and `vnet join` with it logs in to the mediator and joins the network.

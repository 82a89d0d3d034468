"vnet status" shows the relays in use, "vnet list" and "vnet peer" through which relay and over what a path goes, and why it is not direct.

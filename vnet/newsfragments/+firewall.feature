`vnet firewall` limits, for each network, what its members reach of this computer: everything, pings, or a list of ports. It is stateful, holds over restarts and crashes, and is made with nftables.

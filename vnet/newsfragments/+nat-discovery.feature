A node finds out within 1.5 s what its NAT does (mapping, filtering, choice of ports, pooling, hairpin), again in each network; `vnet netcheck` shows it, with what it means.

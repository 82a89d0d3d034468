`vnet watch` tells of LANs that members and this computer offer, that are accepted, and that are taken back.

`vnet share-lan`, `accept-lan` and `use-lan` join LANs: a member offers the way to the LAN at its computer, the owner of the network accepts, and each member chooses whether to use it.

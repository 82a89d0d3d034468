`twistd vnet-mediator`: nodes log in to it over TLS 1.3, get their addresses, found and join networks, see who is online, and are told when to connect to each other.

A mediator that has both is reached over IPv4 first, so that it sees the address of the NAT in front of the node.

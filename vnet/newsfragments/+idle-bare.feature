Nodes with no NAT in front of them check idle paths every 20 seconds instead of every 10.

`vnet.test.natsim` is an Internet in memory with NATs of every kind, on which whole nodes, and other programs, run in tests.

Relays over TCP and TLS take about half of the CPU that they took: trains stay whole from one connection to the next, and TLS is opened and sealed without copies.

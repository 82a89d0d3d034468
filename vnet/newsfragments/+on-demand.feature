A node in a network of thousands has tunnels only to those that it talks to, and keeps at most 64 ready: the first packet to another member makes one, and five minutes without traffic end it.

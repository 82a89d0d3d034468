The timestamps of handshakes never go backwards, also when the clock was set back before a restart: peers hear the node all the same.

Relayed paths, over UDP, TCP and TLS, carry segment trains as direct ones do; `make bench-relayed` compares them with the direct path.

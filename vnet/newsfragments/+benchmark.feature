`make bench` measures TCP throughput, the rate of small packets, latency, processor time and memory of the tunnel beside wireguard-go and the bare link.

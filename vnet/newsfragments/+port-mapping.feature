A node asks its router to forward its UDP port, by PCP, NAT-PMP and UPnP at once, so that peers behind any NAT reach it; `--no-port-mapping` turns that off.

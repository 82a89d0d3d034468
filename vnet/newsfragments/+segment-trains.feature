The tunnel moves segment trains of up to 60 KiB where it moved packets: TCP and UDP offload at the interface and at the UDP port, with fewer calls and a fraction of the work for each packet.

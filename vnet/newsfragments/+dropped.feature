`vnet status --json` tells what was dropped, and why; `--metrics` of vnet-client serves that and more to Prometheus.

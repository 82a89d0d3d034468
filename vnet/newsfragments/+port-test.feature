A UDP port that is named with `--port` is tested from outside by the mediator; `vnet netcheck` says whether the router forwards it.

``vnet-mediator --listen`` may be repeated, so that nodes behind a firewall that lets out port 443 only reach it too.

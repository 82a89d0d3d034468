`vnet lan NETWORK` shows and chooses which protocols beside IP, such as IPX, pass in a network: `--non-ip=on|off`, and a list of EtherTypes with `--ether-types`.

The command `vnet` shows and changes what the running client does, for a person or as JSON.

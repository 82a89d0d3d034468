`vnet-client --lan-priority`: limited broadcast of programs that name no interface goes out of the virtual one, too, from its address; gone when the client ends, however it ends.

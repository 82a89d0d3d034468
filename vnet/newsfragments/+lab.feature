`sudo make lab A=KIND B=KIND` builds two nodes behind NATs of any two out of 19 kinds, shows the path that they found, and gives a shell to look around in.

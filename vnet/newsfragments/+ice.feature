Two computers behind NATs find a direct path to each other with ICE: host, server-reflexive and peer-reflexive candidates, consent checks, and keep-alives of the NATs between.

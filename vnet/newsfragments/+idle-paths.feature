Both sides of an idle path check it in turns, and a node looks after all its idle paths together: a thousand idle peers cost a fraction of the processor time that they did.

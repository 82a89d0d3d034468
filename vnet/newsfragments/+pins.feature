The mediator's URL holds a pin of its key, so no certificate authority is needed; the key of each peer is remembered at the first meeting, and another one in its place is refused.

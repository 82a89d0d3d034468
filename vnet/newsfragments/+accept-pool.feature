A node takes a mediator's address block outside of 100.64.0.0/10 and 198.18.0.0/15, which may be in use on the Internet, only with `--accept-pool`.

A tunnel whose path died while the mediator was away is found again without it.

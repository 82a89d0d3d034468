`vnet watch` prints as it happens who comes and goes, which paths are found and lost, and what becomes of the mediator, for a person or as JSON lines.

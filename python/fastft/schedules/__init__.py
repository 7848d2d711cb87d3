"""How the learning rate moves over a run: one file a schedule, found by the registry."""

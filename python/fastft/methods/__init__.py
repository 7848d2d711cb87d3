"""Which weights are trained, and how: one file a method, found by the registry."""

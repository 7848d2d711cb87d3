"""What is learnt: one file a stage, found by the registry."""

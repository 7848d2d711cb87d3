"""The rules that turn gradients into updates: one file an optimizer, found by the registry."""

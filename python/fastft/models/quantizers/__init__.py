"""Quantizers: how the frozen weights of the base are held in memory; a file a kind."""

"""Typed TOML: tables with documentation, read with their places, told all at once when wrong."""

"""Formats of rows: one file each, found by the config's `format = { kind = ... }`.

A format names columns and tags; the Rust engine reads by them (`rust/pipeline/src/align`).
"""

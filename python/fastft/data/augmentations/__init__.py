"""Ways to alter copies of rows: one file each, found by the config's `[[data.augment]]`, `kind = ...`.

Those of `rust/augment` are made by the engine, row by row; those of an endpoint are asked for
beforehand by `data/augment.py` and read by the engine.
"""

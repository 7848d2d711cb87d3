"""Runs: planned, trained, saved, resumed, recorded and found again."""

from fastft.run.plan import Plan, make_plan
from fastft.run.registry import Run, list_runs, load_run
from fastft.run.train import dry_run, train

__all__ = ["Plan", "Run", "dry_run", "list_runs", "load_run", "make_plan", "train"]

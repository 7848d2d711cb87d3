"""One rank that `run/launch.py` started: its job comes as JSON on stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    """Train as one of several; returns the exit code."""
    from fastft.config.schema import RunConfig
    from fastft.core.errors import FastftError
    from fastft.core.events import Bus
    from fastft.run import launch, sinks
    from fastft.run.signals import Signals, follow
    from fastft.run.train import Job, road

    said = json.load(sys.stdin)
    config = RunConfig.model_validate(said["config"])
    beside = Path(said["beside"]) if said["beside"] is not None else None
    job = Job(config, Bus([sinks.terminal(config.log)]), launch.place(), beside)
    try:
        follow(said["parent"])
        with Signals() as signals:
            road(job, Path(said["out"]), said["resume"], signals, said["texts"])
    except FastftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

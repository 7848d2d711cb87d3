"""`python -m fastft` is `fastft`."""

from __future__ import annotations

from fastft.cli.main import main

if __name__ == "__main__":
    main()

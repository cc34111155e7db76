"""`make e2e`: install the storefronts, or say in one line which is left out and why; then run the tests of the others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.e2e.cache import LeftOutError
from tests.e2e.stores.npm import STORES, packages

if __name__ == "__main__":
    here = Path(__file__).parent
    tests: list[str] = []
    for store in STORES:
        try:
            packages(store)
        except LeftOutError as error:
            sys.stdout.write(f"e2e of {store} is left out: it could not be installed: {error}\n")
        else:
            tests.append(str(here / f"test_{store}.py"))
    if not tests:
        sys.exit(0)
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", *tests, *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 -- this Python

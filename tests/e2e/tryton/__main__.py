"""`make e2e-tryton`: install Tryton, or say in one line why it is left out; then run the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.e2e.cache import LeftOutError
from tests.e2e.tryton.installation import environment

if __name__ == "__main__":
    try:
        environment()
    except LeftOutError as error:
        sys.stdout.write(f"e2e-tryton is left out: Tryton could not be installed: {error}\n")
        sys.exit(0)
    tests = str(Path(__file__).parent)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", tests, *sys.argv[1:]])  # noqa: S606 -- this Python

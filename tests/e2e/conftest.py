"""Tests against whole programs that have to be installed first: run only when they are named, not by `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what stands here unless the command line names it."""
    del collection_path
    return None if any("e2e" in argument for argument in config.args) else True

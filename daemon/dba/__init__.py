"""Render the SQL that the DBA reviews and runs by psql: `erpsyncd sql setup`, `teardown` and `monitor`.

Invariant: pure, text from facts; nothing is executed here. What is printed can be run again and changes nothing then.
"""

from __future__ import annotations

from daemon.dba.facts import Facts, Wanted
from daemon.dba.monitor import monitor
from daemon.dba.setup import setup
from daemon.dba.teardown import teardown

__all__ = ["Facts", "Wanted", "monitor", "setup", "teardown"]

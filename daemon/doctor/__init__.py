"""`erpsyncd doctor`: ordered checks of configuration, ERP, stores and this machine, each with a remedy.

Invariant: asking and judging are apart. `asking`, `local` and `stores` collect facts and change nothing; the `judge_*`
modules turn facts into results and do no I/O; `run` holds the order and lets no failed check stop the others.
"""

from __future__ import annotations

from daemon.doctor.result import Result, Status, as_json, as_text, exit_code
from daemon.doctor.run import diagnose

__all__ = ["Result", "Status", "as_json", "as_text", "diagnose", "exit_code"]

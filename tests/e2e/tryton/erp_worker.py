"""Runs in Tryton's own environment: does what it is told by one JSON line, and answers by one.

Invariant: standard output carries answers only; a business event is done as a clerk does it, through proteus.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import erp_events  # noqa: E402 -- whatever Tryton prints must not stand between the answers
import erp_oracle  # noqa: E402
import erp_random  # noqa: E402
import erp_world  # noqa: E402


def answer(line: str) -> dict[str, Any]:
    told = json.loads(line)
    try:
        if told["do"] == "answers":
            return {"said": erp_oracle.answers(**told["with"])}
        if told["do"] == "formulas":
            return {"said": erp_oracle.formulas(**told["with"])}
        if told["do"] == "build":
            return {"said": erp_world.build()}
        if told["do"] == "random_step":
            return {"said": erp_random.random_step(**told["with"])}
        return {"said": getattr(erp_events, told["do"])(**told["with"])}
    except Exception as error:  # noqa: BLE001 -- told to the test
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    ANSWERS.write(json.dumps(answer(line), default=str) + "\n")
    ANSWERS.flush()

"""Laws of an adapter's memory: what was put is seen at once, and after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon import recall
from daemon.recall import Recall
from daemon.state import StateFile


def opened(folder: Path) -> StateFile:
    state = StateFile(folder / "state.db")
    state.open()
    return state


async def test_what_was_put_is_seen_at_once_and_after_a_restart(tmp_path: Path) -> None:
    state = opened(tmp_path)
    memory = Recall(state, "main")
    memory.put("variant", {"A": "1", "B": "2"})
    memory.put("variant", {"B": "3"})
    memory.forget("variant", ["A", "unknown"])
    assert await memory.get("variant", ["A", "B", "C"]) == {"B": "3"}
    await state.drain()
    state.close()
    state = opened(tmp_path)
    try:
        assert await Recall(state, "main").get("variant", ["A", "B"]) == {"B": "3"}
    finally:
        state.close()


async def test_stores_and_kinds_do_not_mix(tmp_path: Path) -> None:
    state = opened(tmp_path)
    try:
        Recall(state, "main").put("variant", {"A": "1"})
        Recall(state, "main").put("product", {"A": "2"})
        Recall(state, "other").put("variant", {"A": "3"})
        await state.drain()
        fresh = Recall(state, "main")
        assert await fresh.get("variant", ["A"]) == {"A": "1"}
        assert await fresh.get("product", ["A"]) == {"A": "2"}
        assert await Recall(state, "other").get("variant", ["A"]) == {"A": "3"}
    finally:
        state.close()


async def test_what_is_not_in_the_file_yet_is_never_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_MOST", 3)
    state = opened(tmp_path)
    try:
        memory = Recall(state, "main")
        memory.put("variant", {str(n): f"v{n}" for n in range(10)})
        assert len(await memory.get("variant", map(str, range(10)))) == 10
        await state.drain()
        memory.put("variant", {"10": "v10"})
        assert await memory.get("variant", ["0", "9", "10"]) == {"0": "v0", "9": "v9", "10": "v10"}
    finally:
        state.close()


async def test_what_was_secured_is_there_after_a_kill(tmp_path: Path) -> None:
    state = opened(tmp_path)
    flushing = asyncio.create_task(state.run())
    memory = Recall(state, "main")
    memory.put("bulk", {"price": "b1"})
    await asyncio.wait_for(memory.secured(), 10.0)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    state.close()  # without a drain
    state = opened(tmp_path)
    try:
        assert await Recall(state, "main").get("bulk", ["price"]) == {"price": "b1"}
    finally:
        state.close()

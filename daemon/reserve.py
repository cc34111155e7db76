"""The reserve: a file whose place on the disk was taken beforehand, for what must be durable while the disk takes nothing.

Invariant: `write` returns when its operations are on disk, without asking for any space. They are valid as long as the state
file holds the token that stands before them; the transaction that takes them over changes it, so that no operation is
applied twice and none to another file. Blocking; one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

Op = tuple[str, tuple[Any, ...]]
"""A statement for the state file and its parameters."""

SIZE = 16 * 1024 * 1024
_MAGIC = b"erpsyncd reserve\n"
_RECORD = struct.Struct(">II")  # length and checksum of what follows; length 0 ends the file


class Reserve:
    """The file beside the state file. `open` first, `close` last."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size
        self._fd = -1
        self._token = ""
        self._end = 0

    @property
    def used(self) -> bool:
        """Whether something was written that the state file does not hold."""
        return self._end > 0

    def open(self, token: str) -> list[Op]:
        """What was written for the state file with this token. Takes the place where there is room for it."""
        self.void(token)
        ops: list[Op] = []
        with contextlib.suppress(OSError):  # no room, or no right: then `write` says so when it matters
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            ops = self._read()
            self._take_place()
        return ops

    def write(self, ops: Sequence[Op]) -> None:
        """Add operations; on disk on return. Raises OSError when they do not fit, or the disk refuses even this."""
        body = orjson.dumps(ops, default=_hex)
        data = b"".join((
            b"" if self._end else self._head,
            _RECORD.pack(len(body), zlib.crc32(body)),
            body,
            _RECORD.pack(0, 0),
        ))  # fmt: skip
        if self._end + len(data) > self._size:
            raise OSError(errno.ENOSPC, "the reserve is full")
        if os.pwrite(self._fd, data, self._end) != len(data):
            raise OSError(errno.ENOSPC, "the disk took a part only")
        getattr(os, "fdatasync", os.fsync)(self._fd)  # some systems know the latter alone
        self._end += len(data) - _RECORD.size

    def void(self, token: str) -> None:
        """What was written is of no use any more; what will be is for the state file with this token."""
        self._token = token
        self._end = 0

    def close(self) -> None:
        """Idempotent; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take_place(self) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._fd, 0, self._size)
        elif (there := os.fstat(self._fd).st_size) < self._size:
            os.pwrite(self._fd, bytes(self._size - there), there)

    @property
    def _head(self) -> bytes:
        return _MAGIC + self._token.encode()

    def _read(self) -> list[Op]:
        ops: list[Op] = []
        end = len(self._head)
        if os.pread(self._fd, end, 0) != self._head:
            return ops
        data = os.pread(self._fd, self._size, 0)
        while end + _RECORD.size <= len(data):
            length, checksum = _RECORD.unpack_from(data, end)
            body = data[end + _RECORD.size : end + _RECORD.size + length]
            if not length or zlib.crc32(body) != checksum:
                break
            ops += [(sql, tuple(map(_unhex, params))) for sql, params in orjson.loads(body)]
            end += _RECORD.size + length
            self._end = end
        return ops


def _hex(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    raise TypeError(type(value).__name__)


def _unhex(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value

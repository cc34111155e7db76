"""The replication socket: asyncpg logs in, then this protocol speaks the copy stream on the same socket.

Invariant: what the server is told was handed to `confirm`, never what was merely received, and it never goes backwards.
Feedback leaves from a task of its own, so a reader that stalls or a huge transaction never lets the server time out.
asyncpg's private transport is touched here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import cast

import asyncpg

from daemon.erp import translate
from daemon.errors import SourceLost
from daemon.model import Lsn, format_lsn
from daemon.pgoutput import status_update

SENDER_TIMEOUT_S = 60.0
_FEEDBACK_S = SENDER_TIMEOUT_S / 6
_ASK_S = SENDER_TIMEOUT_S / 2  # of silence, after which the server is asked to say something
_SILENCE_S = (
    3 * SENDER_TIMEOUT_S
)  # after which nobody is there; long, since a server decoding a huge transaction may be slow
_CONFIRM_EVERY_S = 0.2  # positions that follow closely are told together
_BACKLOG_BYTES = 8 * 1024 * 1024
_BUSY_READS = 20  # reads within _WINDOW_S that make a busy stream
_WINDOW_S = 0.01
_PAUSE_S = 0.001  # how long a busy socket may fill before it is read again
_NEAR_US = 1000  # a round trip below which _BUFFER_BYTES at a time are as fast as more
_BUFFER_BYTES = 128 * 1024
_RTT = struct.Struct("=68xI")  # tcpi_rtt of Linux's struct tcp_info, in microseconds


class WalStream(asyncio.Protocol):
    """One replication connection. `open`, then `read` until it raises SourceLost; `confirm` at any time.

    `place` is the key of the configuration that gives the address, for errors.
    """

    def __init__(self, place: str = "erp.replication_dsn") -> None:
        self.place = place
        self._connection: asyncpg.Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._chunks: deque[bytes] = deque()
        self._backlog = 0
        self._arrived = asyncio.Event()
        self._lost: Exception | None = None
        self._confirmed: Lsn = 0
        self._sent_at = 0.0
        self._feedback: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        self._reading = True
        self._window_start = 0.0
        self._window_reads = 0
        self._resume: asyncio.TimerHandle | None = None
        self.bytes_total = 0
        self.confirmed: Lsn = 0
        """The newest position that the server was told."""
        self.received_at = 0.0
        """When bytes came last, on the monotonic clock."""

    async def open(
        self, dsn: str, slot: str, publication: str, start: Lsn, *, settings: Mapping[str, str] | None = None
    ) -> None:
        """Log in, with these server settings beside our own, and start streaming at `start`.

        Raises SourceLost or SourceError."""
        try:
            self._connection = await asyncpg.connect(
                dsn,
                timeout=10,
                server_settings={
                    "replication": "database",
                    "application_name": "erpsyncd",
                    "wal_sender_timeout": str(int(SENDER_TIMEOUT_S * 1000)),
                    "statement_timeout": "0",
                    "DateStyle": "ISO",
                    "TimeZone": "UTC",
                    "IntervalStyle": "postgres",
                    "bytea_output": "hex",
                    "extra_float_digits": "3",
                    **(settings or {}),
                },
            )
        except Exception as exc:
            raise translate(exc, self.place) from exc
        self._confirmed = self.confirmed = start
        self.received_at = time.monotonic()
        transport = cast("asyncio.Transport", self._connection._transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            _keep_small(self._socket)
        transport.set_protocol(self)
        name = publication.replace('"', '""').replace("'", "''")
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL {format_lsn(start)} '
            f"(proto_version '1', publication_names '\"{name}\"', messages 'true')"
        )
        query = command.encode() + b"\0"
        transport.write(b"Q" + struct.pack(">I", len(query) + 4) + query)
        self._feedback = asyncio.get_running_loop().create_task(self._give_feedback(), name="wal feedback")

    async def read(self) -> bytes:
        """What has arrived, at least one byte. Raises SourceLost when the connection is gone."""
        while not self._chunks:
            if self._lost is not None:
                raise SourceLost(str(self._lost) or "the ERP closed the replication connection", where=self.place)
            self._arrived.clear()
            await self._arrived.wait()
        chunk = self._chunks.popleft()
        self._backlog -= len(chunk)
        if not self._reading and self._resume is None and self._backlog < _BACKLOG_BYTES // 2:
            self._resume_reading()
        return chunk

    @property
    def more(self) -> bool:
        """Whether `read` would return at once."""
        return bool(self._chunks)

    def confirm(self, durable: Lsn, *, now: bool = False) -> None:
        """Everything before `durable` may be forgotten by the server. `now` answers a keepalive that asks for a reply."""
        self._confirmed = max(durable, self._confirmed)
        if now:
            self._send()
        else:
            self._told.set()

    async def close(self) -> None:
        """Tell the last position and hang up; idempotent."""
        if self._feedback is not None:
            self._feedback.cancel()
            await asyncio.wait([self._feedback])
            self._feedback = None
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._transport is not None and not self._transport.is_closing():
            self._send()
            # CopyDone and Terminate; the server frees the slot as soon as it reads them
            self._transport.write(b"c\0\0\0\x04X\0\0\0\x04")
            self._transport.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RuntimeError):  # uvloop refuses to write to a transport that is closed already
                connection.terminate()

    # -- what the loop calls

    def data_received(self, data: bytes) -> None:
        self.received_at = now = time.monotonic()
        self.bytes_total += len(data)
        self._chunks.append(data)
        self._backlog += len(data)
        self._arrived.set()
        if now - self._window_start > _WINDOW_S:
            self._window_start, self._window_reads = now, 0
        self._window_reads += 1
        if self._backlog >= _BACKLOG_BYTES:
            self._stop_reading()
        elif self._window_reads > _BUSY_READS:
            # the server sends a few rows a packet: letting the socket fill for a moment saves most of the wake-ups
            self._stop_reading()
            self._resume = asyncio.get_running_loop().call_later(_PAUSE_S, self._pause_over)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or exc or ConnectionError("the ERP closed the replication connection")
        self._arrived.set()
        self._told.set()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """Feedback is a few bytes every few seconds: a full buffer means a dead peer, which the server's timeout finds."""

    def resume_writing(self) -> None:
        pass

    # -- inside

    def _pause_over(self) -> None:
        self._resume = None
        if self._backlog < _BACKLOG_BYTES:
            self._resume_reading()

    def _stop_reading(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._reading = False
            if self._socket is not None and self._socket.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
                # unread bytes are acknowledged at once: else a server that has sent some ten packets waits until we read
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _resume_reading(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    async def _give_feedback(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lost is None:
            try:
                async with asyncio.timeout(_FEEDBACK_S):
                    await self._told.wait()
            except TimeoutError:
                pass
            else:
                wait = self._sent_at + _CONFIRM_EVERY_S - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
            self._told.clear()
            silent = time.monotonic() - self.received_at if self._reading and not self._chunks else 0.0
            if silent > _SILENCE_S and self._transport is not None:
                # a line that was cut without a word: only the system's own timeout would end it, much later
                self._lost = ConnectionError(f"the ERP has said nothing for {silent:.0f} s")
                self._arrived.set()
                self._transport.abort()
                return
            self._send(reply=silent > _ASK_S)

    def _send(self, *, reply: bool = False) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(status_update(self._confirmed, time.time_ns() // 1000, reply=reply))
        self._sent_at = asyncio.get_running_loop().time()
        self.confirmed = self._confirmed


def _keep_small(near: socket.socket) -> None:
    """Let a server nearby find a full window now and then. It sends each row by itself, which costs it more than to decode it;
    what waits for the window goes in large pieces. Over a longer way a small window would be the limit, so there it stays."""
    if near.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, struct.error):
        (round_trip_us,) = _RTT.unpack(near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size))
        if round_trip_us < _NEAR_US:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

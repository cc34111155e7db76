"""When a job is due: cron or interval in a time zone, missed runs, a clock that was set.

Invariant: pure; of all the moments that passed since the last planned one only the newest is due, so that runs which were
missed are made up once, and a moment that was handled never comes again, daylight saving and small corrections of the
clock included.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from cronsim import CronSim

from daemon.config.outlet import Batch

TRUSTED: Final = dt.timedelta(hours=25)
"""A last run that lies further in the future than this was planned by a wrong clock, and means nothing."""
_LOOK_BACK: Final = tuple(dt.timedelta(hours=hours) for hours in (1, 25, 24 * 40, 24 * 400, 24 * 366 * 8))


def due(batch: Batch, last: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    """The newest moment after `last` and not after `now` at which the job was to run; None: it is not due.

    `last` is the planned moment of its newest run, or when the job was first seen. All moments are aware."""
    if last - now > TRUSTED:
        return None
    if batch.every is not None:
        every = dt.timedelta(seconds=batch.every)
        passed = (now - last) // every
        return last + passed * every if passed >= 1 else None
    if batch.schedule is None:
        return None
    for reach in _LOOK_BACK:
        begin = max(last, now - reach)
        if found := _newest(batch, begin, now):
            return found
        if begin == last:
            return None
    return None


def _newest(batch: Batch, begin: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    # compared in UTC: two times of one zone are compared by their wall clock, which repeats an hour in autumn
    found, begin, now = None, begin.astimezone(dt.UTC), now.astimezone(dt.UTC)
    for planned in CronSim(batch.schedule or "", begin.astimezone(batch.zone)):
        moment = planned.astimezone(dt.UTC)
        if moment > now:
            break
        if moment > begin:
            found = moment
    return found


def trusted(last: dt.datetime, now: dt.datetime) -> dt.datetime:
    """`last`, or `now` where it was planned by a clock that was far ahead."""
    return now if last - now > TRUSTED else last


def coming(batch: Batch, last: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    """The next moment at which the job is to run; None for one that runs only when it is asked for."""
    if batch.every is not None:
        return max(last + dt.timedelta(seconds=batch.every), now).astimezone(batch.zone)
    if batch.schedule is None:
        return None
    begin = max(last.astimezone(dt.UTC), now.astimezone(dt.UTC))
    return next(m for m in CronSim(batch.schedule, begin.astimezone(batch.zone)) if m.astimezone(dt.UTC) > begin)


def before(batch: Batch, moment: dt.datetime) -> dt.datetime:
    """The planned moment before this one: where the window of a first extract begins."""
    if batch.every is not None:
        return moment - dt.timedelta(seconds=batch.every)
    for reach in _LOOK_BACK:
        found = _newest(batch, moment - reach, moment - dt.timedelta(microseconds=1))
        if found is not None:
            return found
    return moment - dt.timedelta(days=1)

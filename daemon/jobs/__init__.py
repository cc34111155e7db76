"""Jobs by the clock: content in throttled runs, rebuilds of a catalogue, extracts for analytics.

Invariant: a job has one run at a time, a run that was cut off is taken up where it was, and nothing here writes to a store:
a content job only lets its entity's worker work.
"""

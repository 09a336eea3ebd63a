"""Files that hold rollouts, but not as JSON lines → JSON lines, one for each rollout.

In: the first bytes of files; parquet, JSON arrays and objects, logs of inspect_ai, pipes. Out: what
kind of file it is, and its lines. Promise: a file is streamed, never loaded; no value is changed;
what is broken stops the run at the place where it is, before anything is written.
"""

"""The passes of bucketing over all rollouts: scan the scores, copy the lines.

In: rollouts, from files or from a grouped dump. Out: their scores as numbers, then bucket files.
Promise: every rollout lies in one bucket or is accounted for, and its line is copied byte for byte.
"""

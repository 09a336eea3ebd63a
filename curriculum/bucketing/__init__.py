"""The steps of bucketing: scan the scores, assign buckets, copy the lines.

In: rollouts, from files or from a grouped dump. Out: what goes into which bucket file, the manifest
and the score table. Promise: every rollout lies in one bucket or is accounted for, and its line is
copied byte for byte.
"""

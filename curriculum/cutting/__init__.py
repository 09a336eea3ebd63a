"""What follows from the scores of all rollouts, between the passes of bucketing and after them.

In: the numbers of the first pass. Out: the bucket of each rollout, what each bucket holds and how
sure that is; the manifest, the report, the score table and the prompts that need more responses.
Promise: equal values lie in one bucket, unless ties are to be split; every count adds up.
"""

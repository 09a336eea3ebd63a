"""A user's own data set, by the difficulty of its prompts.

In: the files of a data set, and the bucketed rollouts of its prompts.
Out: the rows of the data set, staged bucket by bucket.
Promise: a row stays what it is. It goes to one bucket, or is counted as unmatched.
"""

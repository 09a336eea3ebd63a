"""Which rollouts to train on, and in what order.

In: flags, and numbers of rows: prompt hashes, buckets, groups, values of metrics.
Out: which rows a condition keeps; which rows of a set are chosen; their order.
Promise: it follows from the rows and the seed alone. Rows are chosen by their prompts, so the rows
of a smaller number are among those of a larger one, and a row is chosen with all others of its set.
Opens no files, prints nothing.
"""

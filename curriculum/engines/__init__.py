"""A function over tasks: in this process, in several, or on a Ray cluster.

In: a function and its tasks. Out: the results in the order of the tasks. Promise: the same
results whatever does the work; the first error ends it, and no process outlives the run.
"""

"""Lines that hold whole rollouts in the form of another tool → rollouts of our own form.

In: files of a known format whose lines hold lists of responses and scores, a batch of responses, or
a number in place of both. Out: staged rollouts, in the order of the lines. Promise: a
value that needs no change keeps its bytes, no field is lost, and no score is taken for that of
another response.
"""

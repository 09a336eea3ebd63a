"""What other tools write: which format it has, and what is where.

In: the first lines of files. Out: a row of the table of formats, and functions that read the values
of its lines. Promise: nothing is guessed; a format is data, and what it does not say is asked for.
"""

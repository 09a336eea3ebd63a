"""What a person reads of a run: summaries, warnings, the histogram as text and as a picture.

In: the report of a run. Out: text for the terminal, a picture. Promise: numbers are those of the
manifest, and each warning says what to do. No decision is made here.
"""

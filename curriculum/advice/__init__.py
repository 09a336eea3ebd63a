"""Input that cannot be read as it is → what it is, and the command that reads it.

In: files of another kind or in another place, and lines with other fields. Out: an error with
commands to paste. Promise: what is wrong with a whole file is reported once, before the file is
read; advice is shown and never followed unasked.
"""

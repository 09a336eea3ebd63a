"""The compiled scanner: whole blocks of lines at the speed of memory, in one file of C.

In: the bytes of a block. Out: numbers, offsets and hashes as arrays, and the lines it declines.
Promise: what it reads is what the Python readers read; of any other line it says nothing.
"""

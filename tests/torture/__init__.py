"""Faults as real as they come: runs that are killed, disks that are full, lines that are broken.

Each function tries a number of faults and fails an assertion where one is not survived. The tests
try some of each; `make torture` tries many, and counts.
"""

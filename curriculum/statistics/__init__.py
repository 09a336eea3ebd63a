"""What scores say about difficulty beyond the metric: uncertainty, agreement, distribution.

In: scores and metric values as arrays. Out: numbers for the reports. Promise: nothing is read or
printed, and the result depends neither on shards nor on the clock.
"""

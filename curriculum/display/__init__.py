"""What a terminal or a picture shows: the distribution of the metric, and long texts.

In: the bars of each bucket and where the buckets were cut, or a text. Out: lines, or a .png, .svg
or .pdf. Promise: a bar covers only values that can be there, an axis that is not to scale says so,
and a text that is shortened says by how much.
"""

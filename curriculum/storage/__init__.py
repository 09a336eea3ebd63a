"""Files on a disk or in an object store, and the two file formats of this toolkit's own data.

In: paths as a person writes them. Out: paths with the methods of pathlib that are used here,
Arrow arrays, parquet files. Promise: the other rooms need not know whether a path is on a disk or
in a store, and a parquet file depends on its rows alone.
"""

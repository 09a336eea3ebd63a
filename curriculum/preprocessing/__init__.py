"""The steps of preprocessing: convert every bucket, split by prompt, write the sets.

In: a bucket directory. Out: a train and a val parquet file per set, and their record in the
manifest. Promise: a prompt is on one side of the split in every set, and a row has one index
everywhere.
"""

"""What our scripts wrote, read by the real verl and by old and new versions of datasets."""

"""An output directory as one transaction: staged files, journal, commit, manifests.

In: lines and files to write. Out: the complete new files in place, the manifest last. Promise: a
run that fails, is killed or fills the disk leaves the complete old outputs or the complete new
ones, and never touches a file that the toolkit did not write.
"""

"""The toolkit's version: in `--version` and in every manifest."""

__version__ = "0.1.0"
NAME = "rollout-curriculum"  # in files by which the toolkit knows them as its own

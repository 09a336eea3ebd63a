"""The toolkit's version: in `--version` and in every manifest."""

__version__ = "0.1.0"

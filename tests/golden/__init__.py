"""The help texts and the schema as they should be."""

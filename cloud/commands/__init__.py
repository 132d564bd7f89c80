"""The commands of `python -m cloud`, one module per concern; cloud/cli.py puts them together."""

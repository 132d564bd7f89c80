"""Entry point of `python -m cloud`."""

from cloud.cli import main

main(prog_name="python -m cloud")

"""The command line: everything that is run, made and looked at by hand."""

from app.cli.root import main

__all__ = ["main"]

"""A provider of class B, for chaos runs."""

from tests.chaos.personalities import make

PLUGIN = make("B")

"""A provider of class D, for chaos runs."""

from tests.chaos.personalities import make

PLUGIN = make("D")

"""A provider of class C, for chaos runs."""

from tests.chaos.personalities import make

PLUGIN = make("C")

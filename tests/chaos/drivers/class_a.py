"""A provider of class A, for chaos runs."""

from tests.chaos.personalities import make

PLUGIN = make("A")

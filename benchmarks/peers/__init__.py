"""What the program is compared with, each written as its own documentation shows."""

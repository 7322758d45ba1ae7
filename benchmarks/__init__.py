"""Speed of the real program beside its peers, on one machine, in one run: only ratios are judged.

`run` plays the legs in passes over one durable PostgreSQL, the order reversed in every second pass, checks each count
in the database and prints one line per ratio. `table` says what each ratio must reach.
"""

"""What a message costs: the service's own code measured beside the floor that its libraries set.

`python -m tests.bench` (or `make bench`) starts three kinds of processes: a load generator with frames
made beforehand (`load`), one fresh process per measurement (`worker`, which runs one of `rows`), and the
embedded PostgreSQL with its production settings. Each round measures every row once, the floor first,
so that a ratio compares two neighbours in time; `report` says medians and spreads. Nothing here asserts
a duration.
"""

"""What a message costs: the service's own code measured beside the floor that its libraries set.

`python -m tests.bench` (or `make bench`) starts three kinds of processes: a load generator with frames
made beforehand (`load`), one fresh process per measurement (`worker`, which runs one of the rows), and the
embedded PostgreSQL with its production settings. A course (`courses`) is a tape of frames with its rows and
its floor; each round measures every row once, between two floors of the same frames, so that a ratio compares
neighbours in time; `report` says medians and spreads.

`python -m tests.bench.sustained` (or `make bench-sustained`) measures the service itself, as processes, under
frames that are paced without an end (`laps`, `pacer`): rate, latency, lag, memory, CPU by process, and an
account of every row. Nothing here asserts a duration.
"""

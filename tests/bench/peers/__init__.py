"""What other libraries cost with the same frames: `python -m tests.bench.peers`, or `make bench-peers`.

Each peer is a small program (`programs`) as a user of that library would write it, in a process and a
virtual environment of its own (`environments`, `requirements`). `exchange` serves the frames to whatever
client comes; `client` starts a program and takes its time; `suite` runs all rows beside our own.
"""

"""`python -m tests.silence`: provoke every kind of silence on a running service, and measure what it does."""

"""Every fault against the running service, one at a time, and the account of what each has cost."""

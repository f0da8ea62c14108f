"""A folder for PYTHONPATH: its `sitecustomize` is imported by every Python process of the service."""

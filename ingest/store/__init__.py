"""Batches -> database: COPY, staging, the gap ledger, migrations, and the embedded server."""

"""What operators see: metrics, health, HTTP, the status page, logs."""

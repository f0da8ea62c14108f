"""What operators see: metrics, health, HTTP, logs."""

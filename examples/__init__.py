"""Programs that read what the service has stored. Short on purpose; run by the tests."""

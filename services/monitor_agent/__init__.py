"""Monitor agent: one process on each host, which samples it and publishes what it finds."""

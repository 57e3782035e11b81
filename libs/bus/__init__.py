"""The only code that knows NATS: connect, publish, request, serve, work queues, streams."""

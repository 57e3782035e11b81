"""A client of the WebSocket protocol, for trying, testing and measuring the system from outside."""

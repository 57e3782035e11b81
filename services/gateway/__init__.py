"""The WebSocket front door: checks a frame, puts it on the bus, and forwards what comes back, byte for byte."""

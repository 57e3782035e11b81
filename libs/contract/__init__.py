"""What crosses a process boundary: client frames, bus messages, subjects, streams, error codes."""

"""The bus against real NATS servers."""

"""How a process starts, reports its health, logs, and stops. Knows neither the bus nor the contract."""

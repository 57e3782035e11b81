"""The whole system in containers: started, killed, stopped, and started again with all that it knew."""

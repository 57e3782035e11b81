"""One step before the services start: streams on the bus and the schema of every database, made or updated."""

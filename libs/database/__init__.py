"""How a service speaks to its database: engine, units of work, the database's clock, time stamps, migrations."""

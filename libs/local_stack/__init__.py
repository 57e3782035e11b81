"""The whole stack on one machine: broker, cache, model server and services as child processes of one launcher."""

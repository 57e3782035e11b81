"""The processes of Orquestrador, one package each."""

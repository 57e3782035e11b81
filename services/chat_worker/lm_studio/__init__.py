"""The client of LM Studio and of every other OpenAI-compatible model server."""

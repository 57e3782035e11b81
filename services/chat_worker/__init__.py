"""Answers chat requests with a language model, and keeps the conversations."""

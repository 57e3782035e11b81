"""Tests of the chat worker."""

"""Tests of the task service."""

"""Tests of `libs.database` and of the provisioning step."""

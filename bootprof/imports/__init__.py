"""Bootlogs from what other tools recorded, one module a tool."""

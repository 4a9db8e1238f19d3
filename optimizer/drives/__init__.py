"""Drives: models of their time, and the seeks of a block trace."""

"""Where a root tree comes from, one module a source."""

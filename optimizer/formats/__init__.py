"""Files that bootprof reads and writes: one module a format."""

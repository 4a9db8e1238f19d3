"""What the imports share: lines and numbers with limits, prefixes of logs, processes, block reads."""

"""What the imports share: lines and numbers with limits, logs, processes, block reads."""

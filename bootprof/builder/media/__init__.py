"""Media that a live system boots from."""

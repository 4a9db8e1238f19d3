"""Reader of squashfs 4.0: one module a part of the format."""

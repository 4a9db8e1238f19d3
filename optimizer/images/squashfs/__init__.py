"""Reader of squashfs 4.0: one module a part of the format."""

from optimizer.images.squashfs.layout import FORMAT

__all__ = ["FORMAT"]

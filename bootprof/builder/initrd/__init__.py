"""The initrd of an image, repacked, and the additional initrd archives."""

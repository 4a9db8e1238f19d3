"""Booting an image in QEMU: the image served, the guest followed, its profile written."""

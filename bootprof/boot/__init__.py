"""Boots an image in QEMU: serves the image, follows the guest, writes the profile."""

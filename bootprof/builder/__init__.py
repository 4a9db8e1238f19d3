"""The live image builder: root file system, squashfs, profiler archive, boot loader, ISO image."""

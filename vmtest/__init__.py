"""Real kernels in QEMU, for the tests and the measurements."""

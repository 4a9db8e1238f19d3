"""The initrd of an image: repacked, and the archives that go beside it."""

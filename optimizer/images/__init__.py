"""Images: their layouts."""

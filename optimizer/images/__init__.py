"""Images: what lies where in them."""

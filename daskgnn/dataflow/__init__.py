"""Task graphs: the only folder that builds them."""

"""How a question becomes numbers."""

"""fastft."""

"""What the async face and the blocking face have in common."""

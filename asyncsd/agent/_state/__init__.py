"""What is registered, and those who wait for it to change."""

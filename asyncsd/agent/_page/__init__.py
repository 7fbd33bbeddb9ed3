"""What the registry's page is told."""

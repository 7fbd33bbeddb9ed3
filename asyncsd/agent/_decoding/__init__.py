"""What programs send, in Go's terms, and its mistakes in Go's words."""

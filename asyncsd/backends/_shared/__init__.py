"""What backends have in common. A backend imports from here and from the core, and from no other backend."""

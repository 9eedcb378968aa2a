"""State that the workers share, behind an interface that a cluster can replace."""

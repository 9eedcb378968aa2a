"""Files as the kernel has them, seen as SMB sees them."""

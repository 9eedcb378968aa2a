"""Keys, signatures, encryption and preauthentication integrity."""

"""Where servers live: a small protocol, and a closed choice of providers."""

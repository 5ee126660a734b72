"""Pictures and tables of what the sampler draws, for people."""

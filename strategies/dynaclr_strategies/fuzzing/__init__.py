"""Searching for as long as one likes, on as many machines as one has, and reporting what was found."""

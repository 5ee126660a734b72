"""A failure that travels: from an exception to a bundle, and from a bundle to a verdict on another machine."""

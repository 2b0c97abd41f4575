"""Which segment is where: the host's manifest, and the catalog that is published beside the data."""

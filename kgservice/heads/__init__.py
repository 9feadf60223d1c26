"""What frozen vectors of entities tell beside links: types, types never seen, numbers and dates."""

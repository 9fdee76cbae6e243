"""How right labels are, measured against annotations."""

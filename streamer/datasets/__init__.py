"""Public data sets, one file each: their official layouts become sessions."""

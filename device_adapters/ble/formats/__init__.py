"""The wearables' byte formats, one file each."""

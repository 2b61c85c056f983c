"""What lies in data/: written whole, read with checks, and known to be current or not."""

"""What a study takes, before any of it runs."""

"""What the operating system gives and refuses: locks, streams, memory, processors, files."""

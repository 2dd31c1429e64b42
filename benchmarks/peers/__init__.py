"""What a competitor would use instead, each in one file, written as its users write it."""

"""What is fitted to a published model, one file per module: `make(subject)` returns the files by name, as bytes."""

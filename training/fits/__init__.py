"""What is fitted to a published model, one file a module: `make(subject)` returns the files by name, as bytes."""

"""One file per experiment; its docstring gives the command, the run time and the score it reached."""

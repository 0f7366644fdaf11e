"""A package, because tf-keras-vis installs one of the same name, which would win over a plain folder."""

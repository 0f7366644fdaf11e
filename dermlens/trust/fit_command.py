"""The command that fits what a published model lacks, as pages and messages tell a person to run it."""

FIT = "python -m training.fit"


def fit_command(model_id: str, step: str, pictures: bool = False) -> str:
    """Return the command that fits one step to a model.

    Args:
        model_id: name of the folder in models/. step: key of training.fit.STEPS.
        pictures: whether to say that it needs the data set.
    """
    command = f"{FIT} {model_id} --only {step}"
    return f"{command} --data DIR" if pictures else command

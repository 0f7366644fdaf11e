from pathlib import Path

from dermlens.interchange.dicom import settings
from dermlens.server.state import state_dir


def test_the_folder_for_state_is_named_or_that_of_the_user() -> None:
    assert state_dir({"DERMLENS_STATE": "/srv/state", "XDG_STATE_HOME": "/x"}) == Path("/srv/state")
    assert state_dir({"XDG_STATE_HOME": "/x"}) == Path("/x/dermlens")
    assert state_dir({}) == Path.home() / ".local/state/dermlens"
    given = {settings.PACS: "https://pacs.example/dicom-web", "XDG_STATE_HOME": "/x"}
    assert settings.read(given).outbox == Path("/x/dermlens/outbox")

from tests.record.conftest import postgres, record, url

__all__ = ["postgres", "record", "url"]

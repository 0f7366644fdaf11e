import pytest

from dermlens.files.addresses import shown_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/srv/images", "/srv/images"),
        ("relative/a@b?c:d", "relative/a@b?c:d"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/folder?region=eu&secret_key=S3CRET", "s3://bucket/folder"),
        ("s3://AKIA:S3CRET@bucket/folder", "s3://bucket/folder"),
        ("s3://AKIA:S3CRET@bucket", "s3://bucket"),
        ("s3://AKIA:S3C%2FRET@bucket/a@b/c", "s3://bucket/a@b/c"),
        ("s3://AKIA:S3C/RET@bucket/folder", "s3://bucket/folder"),
        ("s3://AKIA:S3C?RET@bucket/folder", "s3://..."),
        ("s3://AKIA:S3CRET", "s3://..."),
        ("s3://AKIA@bucket", "s3://bucket"),
        ("hdfs://host:8020/a@b", "hdfs://host:8020/a@b"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        ("http://user:S3CRET@[::1]:9000/x", "http://[::1]:9000/x"),
        ("s3://bucket/folder?x=a://AKIA:S3CRET@b", "s3://bucket/folder"),
    ],
)
def test_an_address_is_shown_without_credentials_and_options(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    assert "S3C" not in shown

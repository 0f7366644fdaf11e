"""What leaves is written down.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import context, op

from dermlens.errors import RecordError

revision = "0002"
down_revision = "0001"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Utc = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "disclosure",
        sa.Column("at", Utc, nullable=False),
        sa.Column("person_id", Id, nullable=False),
        sa.Column("what", sa.String(length=40), nullable=False),
        sa.Column("recipient", sa.String(length=255), nullable=False),
        sa.Column("lesion_id", Id, nullable=True),
        sa.Column("pixels_sha256", sa.String(length=64), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("arrived_at", Utc, nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_disclosure_person_id")),
        sa.ForeignKeyConstraint(["lesion_id"], ["lesion.id"], name=op.f("fk_disclosure_lesion_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosure")),
    )
    op.create_index(op.f("ix_disclosure_lesion_id"), "disclosure", ["lesion_id"], unique=False)


def downgrade() -> None:
    """Delete it, if it is empty or all else goes too."""
    whole = context.get_revision_argument() in (None, ())
    if not whole and op.get_bind().scalar(sa.text("SELECT count(*) FROM disclosure")):
        raise RecordError("The record holds what has left, which revision 0001 cannot hold. Nothing was changed.")
    op.drop_index(op.f("ix_disclosure_lesion_id"), table_name="disclosure")
    op.drop_table("disclosure")

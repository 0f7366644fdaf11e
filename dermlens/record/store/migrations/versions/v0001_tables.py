"""The tables of the first record.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Utc = sa.DateTime(timezone=True)
Json = sa.JSON()


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "audit",
        sa.Column("sequence", Id, autoincrement=False, nullable=False),
        sa.Column("at", Utc, nullable=False),
        sa.Column("actor", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object", sa.String(length=40), nullable=False),
        sa.Column("payload_sha256", sa.String(length=64), nullable=False),
        sa.Column("previous_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_object"), "audit", ["object"], unique=False)
    op.create_table(
        "patient",
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=True),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("sex", sa.String(length=16), nullable=True),
        sa.Column("consent_scope", sa.String(length=16), nullable=True),
        sa.Column("given_at", Utc, nullable=True),
        sa.Column("withdrawn_at", Utc, nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient")),
        sa.UniqueConstraint("group_name", "pseudonym", name=op.f("uq_patient_group_name_pseudonym")),
    )
    op.create_table(
        "person",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("subject", "group_name", name=op.f("uq_person_subject_group_name")),
    )
    op.create_table(
        "record_key",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("since", Utc, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_record_key")),
    )
    op.create_table(
        "lesion",
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("patient_id", Id, nullable=True),
        sa.Column("site", sa.String(length=32), nullable=True),
        sa.Column("side", sa.String(length=16), nullable=True),
        sa.Column("label", sa.String(length=60), nullable=True),
        sa.Column("map_view", sa.String(length=16), nullable=True),
        sa.Column("map_x", sa.Double(), nullable=True),
        sa.Column("map_y", sa.Double(), nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_lesion_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lesion")),
    )
    op.create_index(op.f("ix_lesion_group_name_id"), "lesion", ["group_name", "id"], unique=False)
    op.create_index(op.f("ix_lesion_patient_id"), "lesion", ["patient_id"], unique=False)
    op.create_table(
        "image",
        sa.Column("lesion_id", Id, nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("saved_at", Utc, nullable=False),
        sa.Column("taken_at", Utc, nullable=True),
        sa.Column("pixels_sha256", sa.String(length=64), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=60), nullable=True),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("quality", Json, nullable=False),
        sa.Column("picture", sa.String(length=80), nullable=True),
        sa.Column("delete_after", Utc, nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["lesion_id"], ["lesion.id"], name=op.f("fk_image_lesion_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint("token", name=op.f("uq_image_token")),
    )
    op.create_index(op.f("ix_image_delete_after"), "image", ["delete_after"], unique=False)
    op.create_index(op.f("ix_image_lesion_id_id"), "image", ["lesion_id", "id"], unique=False)
    op.create_index(op.f("ix_image_saved_at"), "image", ["saved_at"], unique=False)
    op.create_table(
        "outcome",
        sa.Column("lesion_id", Id, nullable=False),
        sa.Column("at", Utc, nullable=False),
        sa.Column("person_id", Id, nullable=False),
        sa.Column("diagnosis", sa.String(length=8), nullable=False),
        sa.Column("diagnosis_words", sa.String(length=120), nullable=True),
        sa.Column("basis", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=120), nullable=True),
        sa.Column("supersedes_id", Id, nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["lesion_id"], ["lesion.id"], name=op.f("fk_outcome_lesion_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_outcome_person_id")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["outcome.id"], name=op.f("fk_outcome_supersedes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome")),
    )
    op.create_index(op.f("ix_outcome_lesion_id"), "outcome", ["lesion_id"], unique=False)
    op.create_index(op.f("ix_outcome_supersedes_id"), "outcome", ["supersedes_id"], unique=False)
    op.create_table(
        "prediction",
        sa.Column("image_id", Id, nullable=False),
        sa.Column("at", Utc, nullable=False),
        sa.Column("person_id", Id, nullable=False),
        sa.Column("lead", sa.Boolean(), nullable=False),
        sa.Column("model_id", sa.String(length=100), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("fitted", Json, nullable=False),
        sa.Column("app_version", sa.String(length=40), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("logits", Json, nullable=True),
        sa.Column("probabilities", Json, nullable=True),
        sa.Column("shown", Json, nullable=True),
        sa.Column("calibrated", sa.Boolean(), nullable=False),
        sa.Column("called", sa.String(length=8), nullable=True),
        sa.Column("suspect", sa.Double(), nullable=True),
        sa.Column("prediction_set", Json, nullable=True),
        sa.Column("refused_by", Json, nullable=False),
        sa.Column("ood_score", sa.Double(), nullable=True),
        sa.Column("refer", sa.Boolean(), nullable=True),
        sa.Column("reasons", Json, nullable=False),
        sa.Column("heat_map_sha256", sa.String(length=64), nullable=True),
        sa.Column("milliseconds", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_prediction_image_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_prediction_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction")),
    )
    op.create_index(op.f("ix_prediction_image_id_lead"), "prediction", ["image_id", "lead"], unique=False)
    op.create_table(
        "reading",
        sa.Column("image_id", Id, nullable=False),
        sa.Column("at", Utc, nullable=False),
        sa.Column("person_id", Id, nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("diagnosis", sa.String(length=8), nullable=False),
        sa.Column("diagnosis_words", sa.String(length=120), nullable=True),
        sa.Column("confidence", sa.Integer(), nullable=False),
        sa.Column("management", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("supersedes_id", Id, nullable=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_reading_image_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_reading_person_id")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["reading.id"], name=op.f("fk_reading_supersedes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reading")),
    )
    op.create_index(op.f("ix_reading_image_id"), "reading", ["image_id"], unique=False)
    op.create_index(op.f("ix_reading_supersedes_id"), "reading", ["supersedes_id"], unique=False)


def downgrade() -> None:
    """Delete all tables, with what they hold."""
    op.drop_index(op.f("ix_reading_supersedes_id"), table_name="reading")
    op.drop_index(op.f("ix_reading_image_id"), table_name="reading")
    op.drop_table("reading")
    op.drop_index(op.f("ix_prediction_image_id_lead"), table_name="prediction")
    op.drop_table("prediction")
    op.drop_index(op.f("ix_outcome_supersedes_id"), table_name="outcome")
    op.drop_index(op.f("ix_outcome_lesion_id"), table_name="outcome")
    op.drop_table("outcome")
    op.drop_index(op.f("ix_image_saved_at"), table_name="image")
    op.drop_index(op.f("ix_image_lesion_id_id"), table_name="image")
    op.drop_index(op.f("ix_image_delete_after"), table_name="image")
    op.drop_table("image")
    op.drop_index(op.f("ix_lesion_patient_id"), table_name="lesion")
    op.drop_index(op.f("ix_lesion_group_name_id"), table_name="lesion")
    op.drop_table("lesion")
    op.drop_table("record_key")
    op.drop_table("person")
    op.drop_table("patient")
    op.drop_index(op.f("ix_audit_object"), table_name="audit")
    op.drop_table("audit")

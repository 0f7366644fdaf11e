"""Who uses the record, what each role may do, and whose cases a person sees."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.errors import RecordError
from dermlens.record.store import audit
from dermlens.record.store.tables import Person
from dermlens.record.vocabulary import ROLES

LOCAL = "local"
"""Subject and group of everybody where nobody signs in."""
NEEDS = {  # what is done -> the least role that may
    "see": "reader",
    "save": "reader",
    "read": "reader",
    "name the patient": "clinician",
    "keep the picture": "clinician",
    "enter outcomes": "clinician",
    "export": "clinician",
    "send to the PACS": "clinician",
    "withdraw consent": "admin",
    "check the record": "admin",
}
_LONGEST = 255


@dataclass(frozen=True)
class Who:
    """A person at work: the subject of the sign-in, a role, and the groups whose cases are theirs."""

    subject: str
    role: str
    groups: tuple[str, ...]
    """at least one; what is saved belongs to the first"""

    def may(self, what: str) -> bool:
        """Return whether the role allows it; `what` is a key of NEEDS."""
        return ROLES.index(self.role) >= ROLES.index(NEEDS[what])

    def need(self, what: str) -> None:
        """Raise RecordError unless the role allows it."""
        if not self.may(what):
            raise RecordError(f"To {what} takes the role {NEEDS[what]}; yours is {self.role}.")

    def within(self, group: str) -> "Who":
        """Return the person at work for one of their groups; RecordError if it is none of theirs."""
        if group not in self.groups:
            raise RecordError("This group is not one of yours.")
        return Who(self.subject, self.role, (group, *(g for g in self.groups if g != group)))


NOBODY_SIGNED_IN = Who(LOCAL, "admin", (LOCAL,))
"""Who works where no sign-in is set up: the owner of the machine."""


def signed_in(
    claims: Mapping[str, object], role_claim: str, group_claim: str, listed: Mapping[str, object] | None = None
) -> Who:
    """Return who signed in, by what the provider says, or by a list in the secrets, which wins.

    Args:
        claims: of the sign-in; `sub` is the subject.
        role_claim, group_claim: the claims with the person's roles and groups: a text, or a list of texts.
        listed: subject -> {"role": ..., "groups": [...]}.

    Raises:
        RecordError: there is no subject, no role that the record knows, or no group. In doubt, nobody sees a case.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST:
        raise RecordError("The sign-in names no subject (claim sub), so the record cannot know whose cases to show.")
    own = (listed or {}).get(subject)
    if isinstance(own, Mapping):
        roles, groups = _texts(own.get("role")), _texts(own.get("groups"))
    else:
        roles, groups = _texts(claims.get(role_claim)), _texts(claims.get(group_claim))
    known = [role for role in ROLES if role in roles]
    if not known:
        raise RecordError(
            f"You have no role in the record. Its roles are {', '.join(ROLES)}; ask who runs this server."
        )
    if not groups:
        raise RecordError("You belong to no group of the record; ask who runs this server.")
    return Who(subject, known[-1], groups)


def _texts(value: object) -> tuple[str, ...]:
    found: Iterable[object] = (value,) if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(dict.fromkeys(t for t in found if isinstance(t, str) and 0 < len(t) <= _LONGEST and t.isprintable()))


def row_of(session: Session, who: Who, now: datetime) -> Person:
    """Return the person's row in the group they work for, made or changed if need be; in a writing session."""
    query = select(Person).where(Person.subject == who.subject, Person.group_name == who.groups[0])
    row = session.scalars(query).first()
    if row is None:
        row = Person(subject=who.subject, group_name=who.groups[0], role=who.role)
    elif row.role == who.role:
        return row
    row.role = who.role
    audit.note(session, "command", "person", row, at=now)
    return row


def actor(person: Person) -> str:
    """Return what the audit chain calls a person."""
    return f"person:{person.id}"

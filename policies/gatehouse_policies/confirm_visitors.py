"""Who says yes: how a bundle writes it, and whether a person at the page is one of them.

Rules:
- A person is positively known to be one, vouched for, and has a credential that no call of the request came with. What
  was seen as a human's and an agent's is no person's. Where a call of the visitor's own name came with what cannot be
  told from other credentials (a token with neither `jti` nor `iat`), it may be this one.
- `principal` is the person for whom the call is made; `approvers` are persons in a group, and the principal is none of
  them unless that is said. A scorer is no person: nobody decides at a page.

Not here: the form that a client shows to its person (confirm_wire.py), the scorer (confirm_scorer.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from ext_proc.identity import Identity, Kind
from gatehouse_policies.caller_quota import digest
from gatehouse_policies.confirm_requests import Request
from gatehouse_policies.confirm_scorer import Scorer


class Approvers(BaseModel, extra="forbid"):
    """Persons who may say yes to calls of others."""

    groups: list[str] = Field(min_length=1, description="A person in one of these groups is an approver.")
    issuers: list[str] = Field(
        default=[], description="Whose word on groups counts (`identity.issuer`); anybody's who vouches, if empty."
    )
    principal: Literal["deny", "allow"] = Field(
        default="deny", description="Whether an approver may say yes to what is asked for in the same person's name."
    )


class ByApprovers(BaseModel, extra="forbid"):
    """A yes by somebody else."""

    approvers: Approvers = Field(description="Who; they decide at the page.")


class ByScorer(BaseModel, extra="forbid"):
    """A yes by a service."""

    scorer: Scorer = Field(description="What is asked; nobody sees a page.")


By = Literal["principal"] | ByApprovers | ByScorer


def fingerprint(by: By) -> str:
    """A text that differs for different ones who say yes."""
    return digest("by", by if isinstance(by, str) else by.model_dump_json())


def may_visit(visitor: Identity, by: By) -> bool:
    """Whether a visitor may be asked anything: a person, and an approver where approvers say yes."""
    if visitor.kind is not Kind.HUMAN or visitor.shared or not visitor.verified or not visitor.credential:
        return False
    if not isinstance(by, ByApprovers):
        return by == "principal"
    approvers = by.approvers
    if approvers.issuers and visitor.issuer not in approvers.issuers:
        return False
    return any(group in approvers.groups for group in visitor.groups)


def may_decide(visitor: Identity, request: Request, by: By) -> bool:
    """Whether a visitor may see and decide a request; nobody may once others have to say yes than when it was made."""
    if not may_visit(visitor, by) or request.by != fingerprint(by) or visitor.credential in request.credentials:
        return False
    if visitor.key != request.principal:
        return by != "principal"
    if "" in request.credentials:
        return False
    return not isinstance(by, ByApprovers) or by.approvers.principal == "allow"

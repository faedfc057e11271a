# SPDX-License-Identifier: Apache-2.0
"""The one exception tree.

    HoldfastError
    ├── UsageError            the caller must change something
    │   ├── InvalidInput, NotFound, Conflict, OutsideRoots, SettingsError, UnsupportedFile,
    │   │   NotAPackage, UnsafePackage, UploadDamaged, UnfitFile
    ├── NotAllowed            the caller may not (NotSignedIn, SignInFailed, PasswordNeeded, PasswordChangeNeeded)
    ├── TransientError        wait, it is tried again
    │   ├── Busy, NoSpace (LandingFull), DatabaseUnavailable, TapeFull, NoTapeAvailable, Cancelled, LostClaim, Unreachable,
    │   │   TooManyAttempts
    ├── IntegrityError        bytes are not what they were
    │   ├── DigestMismatch, Damaged, SourceChanged, SourceUnreadable
    ├── OperatorNeeded        a person must act
    │   ├── MediumFailed (TapeFrozen, WrongTape), SchemaMismatch, LibraryUnavailable
    └── Refused               a server's answer, with the code of one of the above

Each class has a stable `code` (REST problem type, CLI JSON, catalogue rows) and a `template` for its
sentence; the values named in the template are keyword arguments and stay readable as `details`.
"""

from __future__ import annotations

from typing import ClassVar, Self


class HoldfastError(Exception):
    """Base of all errors that Holdfast raises on purpose."""

    code: ClassVar[str] = "error"
    template: ClassVar[str] = "{what}"
    advice: ClassVar[str] = ""

    def __init__(self, **details: object) -> None:
        """Keep the details; the message is the template filled with them."""
        self.details = details
        super().__init__(self.template.format_map(details))

    @property
    def sentence(self) -> str:
        """What happened and what to do, in plain English."""
        text = str(self)
        return f"{text} {self.advice}".strip()


# ---- the caller must change something ----


class UsageError(HoldfastError):
    """The caller asked for something that cannot be done as asked."""

    code = "usage"


class InvalidInput(UsageError):
    """A value is not acceptable."""

    code = "invalid-input"


class NotFound(UsageError):
    """There is no such thing, or the caller may not know of it."""  # P8

    code = "not-found"
    template = "There is no {kind} {name}."


class Conflict(UsageError):
    """The thing is in a state that does not allow this."""

    code = "conflict"


class AlreadyArchived(Conflict):
    """The source was archived before."""

    code = "already-archived"
    template = "{path} is archived already, as dataset {dataset}."


class OutsideRoots(UsageError):
    """A path is not below a configured root."""

    code = "outside-roots"
    template = "{path} is not below a folder that this archive may use ({roots})."
    advice = "Choose another path, or ask the operator to add a root (setting roots.{kind})."

    @property
    def sentence(self) -> str:
        """What happened and what to do, with the setting named."""
        return f"{self} {self.advice.format_map(self.details)}"


class SettingsError(UsageError):
    """The settings cannot be used."""

    code = "settings"


class UnsupportedFile(UsageError):
    """The source holds things that cannot be archived: pipes, sockets, devices."""

    code = "unsupported-file"
    template = "{path} is a {what}, which cannot be archived."
    advice = "Move it out of the folder and repeat."


class NotAPackage(UsageError):
    """The bytes are not a Holdfast package, or one of a version this program does not know."""

    code = "not-a-package"
    template = "{name} is not a package that can be read: {why}."


class UnsafePackage(UsageError):
    """A package asks for something a reader must refuse (FORMAT section 5)."""

    code = "unsafe-package"
    template = "{name} in the package was refused: {why}."


class UnfitFile(UsageError):
    """The profile takes no file of this name."""

    code = "unfit-file"
    template = "{path} is no file for the profile {profile}, which takes {patterns}."


class UploadDamaged(UsageError):
    """What came does not have the digest that was sent along."""

    code = "upload-damaged"
    template = "What came does not have the {algorithm} digest that was sent along; it was not kept."
    advice = "Send it again."


# ---- the caller may not ----


class NotAllowed(HoldfastError):
    """The person has no right to do this."""

    code = "not-allowed"
    template = "You may not {action}."
    advice = "Ask somebody who may give you this right, or use a token that has it."


class NotSignedIn(NotAllowed):
    """It is not known who calls."""

    code = "not-signed-in"
    template = "{what}"
    advice = "Log in (holdfast login), or send a token (HOLDFAST_TOKEN)."

    def __init__(self, what: str = "This needs a token.") -> None:
        """`what` is said; it is the same whether or not the thing exists (P8)."""
        super().__init__(what=what)


class SignInFailed(NotSignedIn):
    """Signing in did not succeed."""

    code = "sign-in-failed"
    advice = "Try again, or ask an administrator of the archive."


class PasswordNeeded(NotSignedIn):
    """A share link has a password."""

    code = "password-needed"
    advice = "Give the password of the link; any user name will do."


class PasswordChangeNeeded(NotAllowed):
    """The password was made by somebody else: it is good only for choosing another one."""

    code = "password-change-needed"
    template = "This password is good once, to choose your own."
    advice = "Choose it with holdfast password, then log in."


# ---- wait, it is tried again ----


class TransientError(HoldfastError):
    """It did not work now and is tried again without anybody's help."""

    code = "transient"


class Busy(TransientError):
    """All drives, or the thing itself, are in use."""

    code = "busy"


class NoSpace(TransientError):
    """A disk area has no room."""

    code = "no-space"
    template = "{area} has no room: {needed} bytes are needed, {free} are free."
    advice = "Free some room there; the work goes on by itself."


class LandingFull(NoSpace):
    """The landing area has no room for a file that is to be added."""

    code = "landing-full"
    template = (
        "{area} has no room: {needed} bytes are needed, {free} are free. {leaving} bytes of closed datasets leave it when "
        "they are proven on their tapes."
    )
    advice = (
        "Send the file again when there is room: then, when an open dataset is closed that gets no more files, or when an operator "
        "makes the area larger (setting landing.limit)."
    )


class DatabaseUnavailable(TransientError):
    """The catalogue cannot be reached."""

    code = "database-unavailable"
    template = "The catalogue cannot be reached: {why}."


class TapeFull(TransientError):
    """A tape has no room for what was to be written."""

    code = "tape-full"
    template = "Tape {serial} is full."


class NoTapeAvailable(TransientError):
    """No tape can take the package now."""

    code = "no-tape"
    template = "No tape has room for {size} bytes."
    advice = "Of each tape library.reserve stays free. Add tapes to the library; the work goes on by itself."


class Cancelled(TransientError):
    """The work was cancelled."""

    code = "cancelled"
    template = "{what} was cancelled."


class LostClaim(TransientError):
    """Another worker has taken over (P7); nothing was changed."""

    code = "lost-claim"
    template = "Another worker has taken over {what}."


class Unreachable(TransientError):
    """A server does not answer: that of the archive, or one that it asks."""

    code = "unreachable"
    template = "{url} does not answer: {why}."


class TooManyAttempts(TransientError):
    """Somebody tried too often."""

    code = "too-many-attempts"
    template = "That was tried too often. Try again in {seconds} seconds."


# ---- bytes are not what they were ----


class IntegrityError(HoldfastError):
    """Bytes differ from what they should be."""

    code = "integrity"


class DigestMismatch(IntegrityError):
    """Bytes were read and their digest is another one."""

    code = "digest-mismatch"
    template = "{name} does not have the expected checksum."


class Damaged(IntegrityError):
    """A package cannot be decoded."""

    code = "damaged"
    template = "{name} is damaged: {why}."


class SourceChanged(IntegrityError):
    """A source file changed or vanished while it was being packed."""

    code = "source-changed"
    template = "{path} {what} while it was being archived."
    advice = "It was not archived. Repeat when the folder is at rest."


class SourceUnreadable(IntegrityError):
    """A source file cannot be read."""

    code = "source-unreadable"
    template = "{path} cannot be read: {why}."
    advice = "It was not archived. Mend the file or its rights and repeat."


# ---- a person must act ----


class OperatorNeeded(HoldfastError):
    """An operator has to do something."""

    code = "operator-needed"


class MediumFailed(OperatorNeeded):
    """A tape or disk does not do what it should; it is fenced."""

    code = "medium-failed"
    template = "{medium} failed: {why}."
    advice = (
        "It gets no more writes; what is on it is still read where it can be. Inspect it, or empty it and replace it."
    )

    @classmethod
    def of_tape(cls, serial: str, why: str) -> Self:
        """Return the failure of a tape, which stays readable as the detail `tape`."""
        return cls(medium=f"Tape {serial}", tape=serial, why=why)


class TapeFrozen(MediumFailed):
    """A tape had a permanent write error: it can be read, never written."""

    code = "tape-frozen"


class WrongTape(MediumFailed):
    """Another tape is where this one should be."""

    code = "wrong-tape"


class SchemaMismatch(OperatorNeeded):
    """The catalogue's schema is not one that this program knows."""

    code = "schema-mismatch"
    template = "The catalogue has schema version {found}; this program needs version {known}."
    advice = "If its number is smaller, run holdfast migrate; if it is larger, install a newer Holdfast."


class LibraryUnavailable(OperatorNeeded):
    """The tape library cannot be reached."""

    code = "library-unavailable"
    template = "The tape library at {path} cannot be used: {why}."


# ---- what a server said ----


class Refused(HoldfastError):
    """A server answered with a problem document; `of` is the code of the error that it met."""

    code = "refused"
    template = "{detail}"

    @property
    def of(self) -> str:
        """The code of the server's own error."""
        return str(self.details["code"])

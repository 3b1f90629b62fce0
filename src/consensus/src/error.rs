//! Every way in which consensus refuses its input.

use cairn_types::{LogIndex, MemberId, Term};
use thiserror::Error;

use crate::message::MessageKind;

/// Why entries could not be read from the log on disk.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LogReadError {
    /// The log no longer holds the entry: it was released after a flush of the store. Not a fault.
    #[error("the log no longer holds entry {0}")]
    Released(LogIndex),
    /// The disk failed, or what it returned is damaged; the reader says what and where.
    #[error("the log could not be read: {0}")]
    Failed(String),
    /// The reader returned other entries than asked for.
    #[error("the log returned entry {found} where entry {expected} was asked for")]
    Mismatch {
        /// The index that was asked for.
        expected: LogIndex,
        /// The index that was returned; 0 if nothing was.
        found: LogIndex,
    },
}

/// Why a set of members cannot be one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfStateError {
    /// The bytes are not an encoded configuration.
    #[error("the stored configuration cannot be decoded: {0}")]
    Decode(String),
    /// Nobody could ever vote.
    #[error("the configuration has no voter")]
    NoVoter,
    /// 0 stands for "nobody".
    #[error("the configuration names member 0")]
    ZeroMember,
    /// A member has two roles that exclude each other.
    #[error("the configuration names member {member} both as {one} and as {other}")]
    Overlap {
        /// The member.
        member: MemberId,
        /// Its one role.
        one: &'static str,
        /// Its other role.
        other: &'static str,
    },
    /// A learner-to-be that is not an outgoing voter.
    #[error("the configuration will make member {0} a learner, but it is not an outgoing voter")]
    StrayLearner(MemberId),
    /// Something that only a joint configuration can have.
    #[error("the configuration has {0}, but it is not joint")]
    NotJoint(&'static str),
}

/// Why consensus cannot start from what it was given.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConsensusError {
    /// A setting is out of range.
    #[error("setting {setting} is {value}, but it must be {rule}")]
    Config {
        /// The field of [`crate::Config`].
        setting: &'static str,
        /// Its value.
        value: u64,
        /// What would be accepted.
        rule: &'static str,
    },
    /// The stored set of members is not one.
    #[error("the stored set of members is not valid")]
    ConfState(#[from] ConfStateError),
    /// The store is ahead of the log by entries that exist nowhere.
    #[error(
        "the log starts at entry {first}, but the store has applied only up to {applied}: the entries between are missing"
    )]
    Gap {
        /// The last index that the store holds.
        applied: LogIndex,
        /// The first entry of the log.
        first: LogIndex,
    },
    /// The entries of the log are not consecutive.
    #[error("the log holds entry {found} where entry {expected} must follow")]
    NotConsecutive {
        /// The index that must follow.
        expected: LogIndex,
        /// The index that does.
        found: LogIndex,
    },
    /// The term goes down along the log.
    #[error("the term falls from {before} to {term} at entry {index} of the log")]
    TermDecreases {
        /// The entry.
        index: LogIndex,
        /// The term before it.
        before: Term,
        /// Its term.
        term: Term,
    },
    /// The hard state knows of a commit that the log does not hold.
    #[error("entry {commit} was committed, but the log ends at entry {last}: acknowledged data is missing")]
    CommitBeyondLog {
        /// The commit index of the hard state.
        commit: LogIndex,
        /// The last entry of the log.
        last: LogIndex,
    },
    /// The hard state is older than the log, which cannot be: a term is written before its entries.
    #[error("the log ends in term {log}, but the last hard state is of term {hard_state}")]
    TermBehindLog {
        /// The term of the hard state.
        hard_state: Term,
        /// The term of the last entry.
        log: Term,
    },
    /// Log and store are not of one history.
    #[error("the store has applied entry {index} of term {applied}, but the log holds that entry with term {log}")]
    AppliedTermMismatch {
        /// The applied index.
        index: LogIndex,
        /// Its term as the store knows it.
        applied: Term,
        /// Its term in the log.
        log: Term,
    },
    /// A number so large that it can only be damage.
    #[error("{what} is {value}, which no log can reach")]
    Absurd {
        /// What it is.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The library found a fault that the checks before it did not.
    #[error("the raft library refused to start: {0}")]
    Library(String),
}

/// Why a proposal was not accepted. An accepted one may still be lost when the leader changes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    /// Only the leader proposes; ask `leader`, if there is one.
    #[error("this member does not lead")]
    NotLeader {
        /// Who leads, as far as this member knows.
        leader: Option<MemberId>,
    },
    /// The leadership is being handed over; ask again after the change of leader.
    #[error("the leadership is being handed to member {0}")]
    Transferring(MemberId),
    /// [`crate::Config::max_uncommitted_bytes`] are waiting to be committed.
    #[error("too many bytes wait to be committed")]
    TooManyUncommitted,
    /// An earlier change of members is not applied yet.
    #[error("a change of members is still under way")]
    ConfChangePending,
    /// The change of members is not one that can be made from here.
    #[error("the change of members cannot be made")]
    ConfChange(#[from] ConfChangeError),
}

/// Why a change of members cannot be made; on every member the same, so that it can be the response.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfChangeError {
    /// The entry is not a change of members.
    #[error("entry {0} is not a change of members")]
    NotAConfChange(LogIndex),
    /// The bytes of the entry are not a change of members.
    #[error("the change of members cannot be decoded: {0}")]
    Decode(String),
    /// It does not follow from the present set of members; the text says why.
    #[error("the change of members does not fit the present members: {0}")]
    Refused(String),
}

/// Why no read index can be asked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadIndexError {
    /// Nobody leads, or this member does not know who.
    #[error("there is no leader")]
    NoLeader,
}

/// Why the leadership cannot be handed over.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TransferError {
    /// Only the leader hands over.
    #[error("this member does not lead")]
    NotLeader {
        /// Who leads, as far as this member knows.
        leader: Option<MemberId>,
    },
    /// The target could not win.
    #[error("member {0} is not a voter")]
    NotAVoter(MemberId),
}

/// Why bytes are not a peer message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// The bytes are damaged or not a message at all.
    #[error("a peer message cannot be decoded: {0}")]
    Decode(String),
    /// A number that this version gives no meaning to.
    #[error("a peer message has the unknown {field} {value}")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
}

/// Why a peer message was not taken. Nothing has changed then.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StepError {
    /// It is for another member.
    #[error("a message for member {to} reached member {own}")]
    WrongRecipient {
        /// Whom it is for.
        to: MemberId,
        /// This member.
        own: MemberId,
    },
    /// It claims to come from nobody or from this member itself.
    #[error("a message claims to come from member {0}")]
    WrongSender(MemberId),
    /// Peers never send this kind; proposals and transfers go to the leader as requests.
    #[error("a peer sent a {0:?}, which members do not exchange")]
    ForeignKind(MessageKind),
    /// An answer from a member that is not in the present configuration.
    #[error("member {from} answered, but it is not in the configuration")]
    UnknownPeer {
        /// The sender.
        from: MemberId,
    },
    /// The sender believes that this member holds entries that it does not hold: its disk has lost them.
    #[error(
        "member {from} says that entry {commit} is committed here, but the log ends at entry {last}: this member has \
         lost data; remove it and add it again with an empty data directory"
    )]
    CommitBeyondLog {
        /// The sender.
        from: MemberId,
        /// The commit index of the message.
        commit: LogIndex,
        /// The last entry here.
        last: LogIndex,
    },
    /// The sender's log differs from what is committed here.
    #[error("the log of member {from} contradicts the committed entry {index}")]
    ConflictsWithCommitted {
        /// The sender.
        from: MemberId,
        /// The first entry known to differ.
        index: LogIndex,
    },
    /// A field is out of its range, or fields contradict one another.
    #[error("the {kind:?} of member {from} is malformed: {what}")]
    Malformed {
        /// The sender.
        from: MemberId,
        /// The kind of message.
        kind: MessageKind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A snapshot with a set of members that cannot be one.
    #[error("the snapshot of member {from} carries no valid set of members")]
    SnapshotConfState {
        /// The sender.
        from: MemberId,
        /// What is wrong with it.
        #[source]
        source: ConfStateError,
    },
    /// The library refused it.
    #[error("the raft library refused the message: {0}")]
    Library(String),
}
